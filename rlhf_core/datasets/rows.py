"""A dataset's rows read back: page by page as JSON, or all of them in another encoding."""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rlhf_core.data.jsonl import RowError, RowFile, raw_rows
from rlhf_core.data.parquet import read_rows, write_rows
from rlhf_core.datasets.formats import read_constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.records.datasets import Dataset, Encoding

STEP = 256
"""Lines between two whose places are remembered."""
INDEXED = 16
"""Files whose places are remembered."""
MAX_PAGE_BYTES = 4 * 2**20
"""A page ends with the row that reaches so many, far below the limit of a message."""


class RowText(NamedTuple):
    """A row as JSON, with its number: its line in the file, or its row in Parquet."""

    number: int
    text: str


class RowPage(NamedTuple):
    rows: list[RowText]
    after: int
    """Rows up to the last one sent; 0 where there are no more."""


class _Places(NamedTuple):
    """Where every 256th row of a file of lines begins, and its line."""

    lines: array[int]
    offsets: array[int]


def page(dataset: Dataset, file: Path, size: int, after: int) -> RowPage:
    """Return so many rows after the first `after`, or fewer where they are long."""
    found, total = [], 0
    for row in islice(_rows(dataset, file, after), size):
        found.append(row)
        total += len(row.text.encode())
        if total >= MAX_PAGE_BYTES:
            break
    sent = after + len(found)
    return RowPage(found, sent if sent < dataset.rows else 0)


def converted(dataset: Dataset, file: Path, encoding: Encoding, target: Path) -> None:
    """Write a dataset's rows to `target` in another encoding.

    Raises: InvalidInput where it cannot hold them.
    """
    if "yaml" in (encoding, dataset.encoding):
        raise InvalidInput(
            f"encoding: dataset '{dataset.id}' holds {dataset.encoding}, which cannot be written as {encoding}",
            "encoding",
        )
    source = RowFile(f"dataset:{dataset.id}", file)
    rows = (row for _, row in raw_rows(source) if not isinstance(row, RowError))
    if encoding == "parquet":
        return write_rows(rows, target, source.name)
    with target.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _rows(dataset: Dataset, file: Path, after: int) -> Iterator[RowText]:
    if dataset.encoding == "jsonl":
        return _lines(file, after)
    return islice(_others(dataset, file), after, None)


def _others(dataset: Dataset, file: Path) -> Iterator[RowText]:
    if dataset.encoding == "yaml":
        for number, principle in enumerate(read_constitution(file, dataset.id).principles, start=1):
            yield RowText(number, principle.model_dump_json(exclude_defaults=True))
        return
    for number, row in read_rows(file, f"dataset:{dataset.id}"):
        if not isinstance(row, RowError):
            yield RowText(number, json.dumps(row, ensure_ascii=False))


def _lines(file: Path, after: int) -> Iterator[RowText]:
    """The lines that are not blank, after so many of them."""
    places = _places(file)
    entry = min(after // STEP, len(places.offsets) - 1)
    with file.open("rb") as source:
        source.seek(places.offsets[entry])
        left = after - entry * STEP
        for number, line in enumerate(source, start=places.lines[entry]):
            if not line.strip():
                continue
            if left:
                left -= 1
                continue
            yield RowText(number, line.decode("utf-8-sig").strip())


@lru_cache(maxsize=INDEXED)
def _places(file: Path) -> _Places:
    """A file of the store never changes: what was found once holds."""
    lines, offsets = array("q"), array("q")
    rows = offset = 0
    with file.open("rb") as source:
        for number, line in enumerate(source, start=1):
            if line.strip():
                if rows % STEP == 0:
                    lines.append(number)
                    offsets.append(offset)
                rows += 1
            offset += len(line)
    return _Places(lines, offsets)
