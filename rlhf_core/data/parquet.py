"""Rows as Parquet, read: the same rows as JSON lines hold, one column for each key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any

from rlhf_core.data.jsonl import MAX_LINE_BYTES, RowError, is_absent
from rlhf_core.errors import InvalidInput

BATCH = 16
"""Rows in memory at once, at most."""
BATCH_BYTES = 2**26
"""Fewer where they could be longer than this together."""
BUFFER_BYTES = 2**20
"""What is read of a column at a time, as it lies in the file."""
MAX_ROWS = 50_000_000
"""A file of few bytes may claim any number."""
HINT = "pip install -e '.[parquet]' in the project's folder"


def read_rows(path: Path, name: str, after: int = 0) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Yield the rows behind the first `after`, numbered from 1, without the columns that are null in them.

    Raises: InvalidInput for what is no Parquet file, and where the package to read one is not there.
    """
    arrow, parquet = packages(name)
    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER_BYTES) as file:
            _check_columns(file, name)
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            begins = [0, *accumulate(group.num_rows for group in groups)]
            for index, group in enumerate(groups):
                if begins[index + 1] > after:
                    yield from _rows_of_group(file, index, _rows_at_once(group), begins[index], after)
    except FileNotFoundError:
        raise InvalidInput(f"{name}: there is no such file") from None
    except (arrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}: this Parquet file cannot be read: {line_of(error)}") from None


def _rows_of_group(file: Any, index: int, size: int, number: int, after: int) -> Iterator[tuple[int, Any]]:
    for batch in file.iter_batches(batch_size=size, row_groups=[index]):
        # Row by row: as Python's objects a batch of long texts is many times as large.
        for place in range(max(0, min(after - number, batch.num_rows)), batch.num_rows):
            yield number + place + 1, _plain(batch.slice(place, 1).to_pylist()[0])
        number += batch.num_rows


def _rows_at_once(group: Any) -> int:
    """How many rows of a group may be in memory: as long as they are on average, or as what they have in common.

    A column of few different texts holds each of them once, in its dictionary, and any row may be the longest of them.
    """
    longest = group.total_byte_size / max(1, group.num_rows)
    for index in range(group.num_columns):
        column = group.column(index)
        if column.has_dictionary_page and column.total_compressed_size > 0:
            packed = column.data_page_offset - column.dictionary_page_offset
            longest += packed * column.total_uncompressed_size / column.total_compressed_size
    return int(min(BATCH, max(1.0, BATCH_BYTES / max(1.0, longest))))


def line_of(error: Exception) -> str:
    """Write an error in one line."""
    return " ".join(str(error).split())[:300]


def packages(name: str) -> tuple[Any, Any]:
    """Load what reads and writes Parquet. Raises InvalidInput where it is not installed."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise InvalidInput(f"{name}: Parquet needs the package pyarrow, of the extra `parquet`", hint=HINT) from None
    return pyarrow, pyarrow.parquet


def _check_columns(file: Any, name: str) -> None:
    names: list[str] = list(file.schema_arrow.names)
    if len(set(names)) < len(names):
        repeated = next(column for column in names if names.count(column) > 1)
        raise InvalidInput(f"{name}: the column {json.dumps(repeated)} is there twice")
    if file.metadata.num_rows > MAX_ROWS:
        raise InvalidInput(f"{name}: {file.metadata.num_rows} rows; allowed: at most {MAX_ROWS}")


def _plain(row: dict[str, Any]) -> dict[str, Any] | RowError:
    """The row as JSON would say it; what JSON has no value for is an object, which no key expects."""
    try:
        text = json.dumps(row, default=lambda value: {type(value).__name__: str(value)[:100]})
    except (ValueError, RecursionError, TypeError) as error:
        return RowError(f"the row cannot be read: {error}")
    if len(text) > MAX_LINE_BYTES:
        return RowError(f"the row is longer than {MAX_LINE_BYTES} bytes")
    return {key: value for key, value in json.loads(text).items() if not is_absent(value)}
