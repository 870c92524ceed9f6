"""The client of DatasetService: uploads that go on where they ended, and data read back."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from charter.v1 import dataset_pb2, dataset_pb2_grpc

from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.records.datasets import Dataset, DatasetFormat, DeletedDataset, Encoding
from rlhf_core.records.feedback import Labelers
from rlhf_core.records.samples import Comparison, Sample
from services.client.connection import Connection
from services.wire import enums
from services.wire.datasets import dataset_from_message
from services.wire.paging import MAX_PAGE
from services.wire.revisions import RevisionStep, step_from_message
from services.wire.samples import comparison_from_message, sample_from_message

CHUNK_BYTES = 2**20
CALL_BYTES = 64 * CHUNK_BYTES
"""What one call sends at most, so that a deadline for a call is none for a file."""
PATIENCE_SECONDS = 10.0
"""How long an upload goes on trying while no byte gets through."""
RETRY_SECONDS = 0.5


class DatasetPage(NamedTuple):
    datasets: list[Dataset]
    next_page_token: str


class NamedDataset(NamedTuple):
    """A dataset, and the runs that were given a version of it."""

    dataset: Dataset
    run_ids: tuple[str, ...]


class RunFile(NamedTuple):
    """A file with what a run made, in pieces as they come."""

    rows: int
    pieces: Iterator[bytes]


class DatasetClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = dataset_pb2_grpc.DatasetServiceStub(connection.channel)

    def upload(
        self,
        file: Path,
        dataset_id: str,
        format_: DatasetFormat,
        *,
        description: str = "",
        etag: str = "",
        validate_only: bool = False,
    ) -> Dataset:
        """Upload a file as a dataset, from where an earlier try ended; content that is there already is not sent.

        Raises: InvalidInput naming every bad row, and Unavailable once no byte has come through for 10 s.
        """
        spec = dataset_pb2.DatasetUpload(
            dataset_id=dataset_id,
            format=enums.number(enums.FORMATS, format_),
            sha256=sha256_of(file),
            size_bytes=file.stat().st_size,
            description=description,
            etag=etag,
            validate_only=validate_only,
        )
        moved_at, before = time.monotonic(), -1
        while True:
            try:
                here = self.received(spec.sha256)
                if here > before:
                    moved_at, before = time.monotonic(), here
                answer = self._send(file, spec, here)
            except Unavailable:
                if time.monotonic() - moved_at > PATIENCE_SECONDS:
                    raise
                time.sleep(RETRY_SECONDS)
                continue
            if answer.HasField("dataset"):
                return dataset_from_message(answer.dataset)
            if time.monotonic() - moved_at > PATIENCE_SECONDS:
                raise Unavailable(f"{file}: no more bytes come through; has the file changed since it was hashed?")
            time.sleep(RETRY_SECONDS)

    def received(self, content_hash: str) -> int:
        """Tell how many bytes of a content are on the server."""
        request = dataset_pb2.GetUploadRequest(sha256=content_hash)
        return self._connection.call(self._stub.GetUpload, request).received_bytes

    def get(self, dataset_id: str) -> NamedDataset:
        """Return a dataset by its name, `NAME@HASH`, or hash. Raises NotFound."""
        request = dataset_pb2.GetDatasetRequest(dataset_id=dataset_id)
        message = self._connection.call(self._stub.GetDataset, request).dataset
        return NamedDataset(dataset_from_message(message), tuple(message.run_ids))

    def list(
        self,
        page_size: int = 100,
        page_token: str = "",
        format_: DatasetFormat | None = None,
        versions_of: str = "",
    ) -> DatasetPage:
        """List datasets, or the versions of one, newest first; an empty `next_page_token` marks the last page."""
        request = dataset_pb2.ListDatasetsRequest(
            page_size=page_size,
            page_token=page_token,
            format=enums.number(enums.FORMATS, format_),
            versions_of=versions_of,
        )
        answer = self._connection.call(self._stub.ListDatasets, request)
        return DatasetPage([dataset_from_message(message) for message in answer.datasets], answer.next_page_token)

    def rows(self, dataset_id: str, page_size: int = 1000) -> Iterator[dict[str, Any]]:
        """Yield every row of a dataset, page by page; of a constitution its principles."""
        request = dataset_pb2.ListDatasetRowsRequest(dataset_id=dataset_id, page_size=page_size)
        for answer in self._connection.pages(self._stub.ListDatasetRows, request):
            yield from (json.loads(row.json) for row in answer.rows)

    def export(self, dataset_id: str, encoding: Encoding | None = None) -> Iterator[bytes]:
        """Yield a dataset's file in pieces, byte for byte, or its rows in another encoding."""
        request = dataset_pb2.ExportDatasetRequest(
            dataset_id=dataset_id, encoding=enums.number(enums.ENCODINGS, encoding)
        )
        for answer in self._connection.stream(self._stub.ExportDataset, request):
            if answer.data:
                yield answer.data

    def delete(
        self,
        dataset_id: str,
        etag: str = "",
        request_id: str = "",
        *,
        although_used: bool = False,
        validate_only: bool = False,
    ) -> DeletedDataset:
        """Delete a dataset with all its versions; `validate_only` says what would go.

        Raises Conflict where runs were given it, unless `although_used`.
        """
        request = dataset_pb2.DeleteDatasetRequest(
            dataset_id=dataset_id,
            etag=etag,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
            although_used=although_used,
        )
        answer = self._connection.call(self._stub.DeleteDataset, request)
        return DeletedDataset(answer.dataset_id, answer.versions, answer.size_bytes, tuple(answer.run_ids))

    def export_run(
        self,
        content: enums.Content,
        run_id: str = "",
        *,
        objective: str = "",
        labelers: Labelers | None = None,
        policy_version: str = "",
        stage: str = "",
        encoding: Encoding | None = None,
    ) -> RunFile:
        """Return what a run made, or without one all runs, as a file that runs read.

        Raises NotFound where it has no rows.
        """
        request = dataset_pb2.ExportRunRequest(
            run_id=run_id,
            content=enums.number(enums.CONTENTS, content),
            objective=objective,
            labelers=enums.number(enums.LABELERS, labelers),
            policy_version=policy_version,
            stage=stage,
            encoding=enums.number(enums.ENCODINGS, encoding),
        )
        answers = self._connection.stream(self._stub.ExportRun, request)
        return RunFile(next(answers).rows, (answer.data for answer in answers))

    def samples(self, run_id: str, stage: str = "", policy_version: str = "") -> Iterator[Sample]:
        """Yield a run's samples, page by page, in the order in which it stored them."""
        request = dataset_pb2.ListSamplesRequest(
            run_id=run_id, stage=stage, policy_version=policy_version, page_size=MAX_PAGE
        )
        for answer in self._connection.pages(self._stub.ListSamples, request):
            yield from (sample_from_message(message) for message in answer.samples)

    def comparisons(self, run_id: str) -> Iterator[Comparison]:
        """Yield a run's comparisons, page by page, in the order in which it stored them."""
        request = dataset_pb2.ListComparisonsRequest(run_id=run_id, page_size=MAX_PAGE)
        for answer in self._connection.pages(self._stub.ListComparisons, request):
            yield from (comparison_from_message(message) for message in answer.comparisons)

    def revisions(self, run_id: str) -> Iterator[RevisionStep]:
        """Yield what a run's critic said and what was revised, page by page; rounds count from 1."""
        request = dataset_pb2.ListRevisionsRequest(run_id=run_id, page_size=MAX_PAGE)
        for answer in self._connection.pages(self._stub.ListRevisions, request):
            yield from (step_from_message(message) for message in answer.steps)

    def _send(self, file: Path, spec: dataset_pb2.DatasetUpload, offset: int) -> dataset_pb2.UploadDatasetResponse:
        def send(_: None, **options: Any) -> dataset_pb2.UploadDatasetResponse:
            return self._stub.UploadDataset(_parts(file, spec, offset), **options)

        return self._connection.call(send, None)


def sha256_of(file: Path) -> str:
    """Hash a file's bytes. Raises InvalidInput for one that cannot be read, or is empty."""
    try:
        with file.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except (OSError, ValueError) as error:
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
        raise InvalidInput(f"{file}: {reason}") from None
    if not file.stat().st_size:
        raise InvalidInput(f"{file}: the file is empty")
    return found


def _parts(file: Path, spec: dataset_pb2.DatasetUpload, offset: int) -> Iterator[dataset_pb2.UploadDatasetRequest]:
    """What is uploaded, then bytes from the offset on, as many as one call may send."""
    yield dataset_pb2.UploadDatasetRequest(upload=spec)
    end = offset + CALL_BYTES
    with file.open("rb") as source:
        source.seek(offset)
        while offset < end and (data := source.read(CHUNK_BYTES)):
            yield dataset_pb2.UploadDatasetRequest(chunk=dataset_pb2.DatasetChunk(offset=offset, data=data))
            offset += len(data)
