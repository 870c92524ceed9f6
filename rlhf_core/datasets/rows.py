"""A dataset's rows read back: page by page as JSON, or all of them in another encoding."""

from __future__ import annotations

import atexit
import json
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rlhf_core.data.jsonl import RowError
from rlhf_core.data.parquet import read_rows
from rlhf_core.data.parquet_writer import write_rows
from rlhf_core.data.row_files import RowFile, raw_rows
from rlhf_core.datasets.formats import read_constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.records.datasets import Dataset, Encoding

STEP = 256
"""Lines between two whose places are remembered."""
INDEXED = 16
"""Files whose places are remembered, and readers that stand ready."""
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


class _Ahead:
    """Readers of files that stand where a page ended, so that the next one need not pass over all rows before it.

    Of a Parquet file nothing else tells where in a row group a row lies.
    """

    def __init__(self) -> None:
        self._readers: OrderedDict[tuple[Path, int], Iterator[RowText]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, file: Path, after: int) -> Iterator[RowText] | None:
        """Give the reader to the caller, whose it is from now on."""
        with self._lock:
            return self._readers.pop((file, after), None)

    def keep(self, file: Path, after: int, reader: Iterator[RowText]) -> None:
        with self._lock:
            self._readers[file, after] = reader
            if len(self._readers) > INDEXED:
                self._readers.popitem(last=False)

    def close(self) -> None:
        with self._lock:
            self._readers.clear()


_AHEAD = _Ahead()
atexit.register(_AHEAD.close)  # while what closes a file is still there


def page(dataset: Dataset, file: Path, size: int, after: int) -> RowPage:
    """Return so many rows after the first `after`, or fewer where they are long."""
    rows = _AHEAD.take(file, after) or _rows(dataset, file, after)
    found, total = [], 0
    for row in islice(rows, size):
        found.append(row)
        total += len(row.text.encode())
        if total >= MAX_PAGE_BYTES:
            break
    sent = after + len(found)
    if sent >= dataset.rows:
        return RowPage(found, 0)
    _AHEAD.keep(file, sent, rows)
    return RowPage(found, sent)


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
    if encoding == "parquet":
        return write_rows(source, target)
    rows = (row for _, row in raw_rows(source) if not isinstance(row, RowError))
    with target.open("w", encoding="utf-8", newline="\n") as lines:
        lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)


def _rows(dataset: Dataset, file: Path, after: int) -> Iterator[RowText]:
    if dataset.encoding == "jsonl":
        return _lines(file, after)
    if dataset.encoding == "yaml":
        principles = enumerate(read_constitution(file, dataset.id).principles, start=1)
        told = (RowText(number, principle.model_dump_json(exclude_defaults=True)) for number, principle in principles)
        return islice(told, after, None)
    rows = read_rows(file, f"dataset:{dataset.id}", after)
    return (RowText(n, json.dumps(row, ensure_ascii=False)) for n, row in rows if not isinstance(row, RowError))


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
