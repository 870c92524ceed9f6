"""A run's own files on their way to a server that has a folder of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rlhf_core.config.run import RunConfig
from rlhf_core.data.row_files import BUILTIN_DATA, RowFile
from rlhf_core.datasets.formats import check_file, likely_format
from rlhf_core.datasets.references import FIELDS, is_reference, name_with_hash
from rlhf_core.errors import InvalidInput
from rlhf_core.records.datasets import DatasetFormat
from services.client.client import CharterClient
from services.client.dataset import sha256_of


def uploaded(client: CharterClient, config: RunConfig, tell: Callable[[str], object]) -> RunConfig:
    """Upload the files of this machine that a configuration names; return it with datasets for them.

    A file's dataset is called by its name and its hash, so that nobody's other file is meant.
    """

    def taken(path: str, formats: Sequence[DatasetFormat]) -> str:
        file = Path(path)
        if path.startswith(BUILTIN_DATA) or is_reference(path) or not file.is_file():
            return path
        format_ = _checked(RowFile(path, file), formats)
        name = name_with_hash(file.name, sha256_of(file))
        stored = client.datasets.upload(file, name, format_)
        tell(f"{path} is dataset {stored.id} there ({stored.rows:,} rows)")
        return stored.reference

    given = {name: path for name in FIELDS if isinstance(path := getattr(config.data, name), str)}
    data: dict[str, object] = {name: taken(path, FIELDS[name]) for name, path in given.items()}
    labels = {name: taken(path, FIELDS["labels"]) for name, path in config.data.labels.items()}
    if labels:
        data["labels"] = labels
    return config.model_copy(update={"data": config.data.model_copy(update=data)}) if data else config


def _checked(file: RowFile, formats: Sequence[DatasetFormat]) -> DatasetFormat:
    """The narrowest of the formats that every row has; the last of them holds them all. Raises InvalidInput."""
    with suppress(InvalidInput):
        likely = likely_format(file)
        if likely in formats:
            check_file(file, likely)
            return likely
    check_file(file, formats[-1])
    return formats[-1]
