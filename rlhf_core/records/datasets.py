"""Datasets: files of rows under a name, each version known by the sha256 of its bytes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rlhf_core.records.base import Record, content_id

DatasetFormat = Literal[
    "prompts", "demonstrations", "preferences", "ratings", "rankings", "steps", "labels", "constitution"
]
"""What each row is; `labels` mixes preferences, ratings, rankings and steps, a constitution is one YAML text."""
Encoding = Literal["jsonl", "parquet", "yaml"]
"""How the bytes hold the rows; a constitution is YAML, and nothing else is."""


class Dataset(Record):
    """One version of a dataset, as it was uploaded."""

    id: str
    """The name that people gave it."""
    format: DatasetFormat
    encoding: Encoding
    hash: str
    """sha256 of its bytes, 64 hexadecimal digits."""
    rows: int
    """Rows, or a constitution's principles."""
    size: int
    """Bytes."""
    description: str = ""
    created_by: str = ""
    """Name of the token that uploaded it; empty where calls carry none."""
    created_at: str = ""
    number: int = 0
    """Grows with every version of the store, which keeps it to itself."""
    artifact: str = ""
    """Digest of the folder in which its one file lies, in the store."""

    @property
    def reference(self) -> str:
        """How a run names exactly this version."""
        return f"{DATASET}{self.id}@{self.hash}"

    @property
    def etag(self) -> str:
        return content_id("etag", self.id, self.hash)


class DeletedDataset(NamedTuple):
    """What a dataset's deletion took, or would take."""

    id: str
    versions: int
    size: int
    """Bytes of all of them together."""
    runs: tuple[str, ...]
    """Runs that were given one of them."""


DATASET = "dataset:"
"""Begins what names a dataset where a path may stand, as in dataset:my-prompts."""
