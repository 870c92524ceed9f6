"""Datasets as records and as messages."""

from __future__ import annotations

from collections.abc import Iterable

from charter.v1 import dataset_pb2

from rlhf_core.records.datasets import Dataset
from services.wire import enums, resource_names


def dataset_to_message(dataset: Dataset, run_ids: Iterable[str] = ()) -> dataset_pb2.Dataset:
    return dataset_pb2.Dataset(
        id=dataset.id,
        name=resource_names.resource(resource_names.DATASETS, dataset.id),
        format=enums.number(enums.FORMATS, dataset.format),
        encoding=enums.number(enums.ENCODINGS, dataset.encoding),
        hash=dataset.hash,
        rows=dataset.rows,
        size_bytes=dataset.size,
        description=dataset.description,
        created_by=dataset.created_by,
        create_time=enums.timestamp(dataset.created_at),
        etag=dataset.etag,
        reference=dataset.reference,
        run_ids=run_ids,
    )


def dataset_from_message(message: dataset_pb2.Dataset) -> Dataset:
    return Dataset(
        id=message.id,
        format=enums.given(enums.FORMATS, message.format, "format"),
        encoding=enums.given(enums.ENCODINGS, message.encoding, "encoding"),
        hash=message.hash,
        rows=message.rows,
        size=message.size_bytes,
        description=message.description,
        created_by=message.created_by,
        created_at=enums.time_text(message.create_time),
    )
