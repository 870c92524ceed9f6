"""Rows as Parquet: the same rows as JSON lines hold, one column for each key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_core.data.conversations import dialogue
from rlhf_core.data.jsonl import MAX_LINE_BYTES, RowError, is_absent, kind_of
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message

BATCH = 16
"""Rows in memory at once: a column of few different long texts is small in the file and large outside of it."""
MAX_ROWS = 50_000_000
"""A file of few bytes may claim any number."""
CONVERSATIONS = ("prompt", "completion", "response", "chosen", "rejected")
"""Keys under which text and messages mean the same."""
HINT = "pip install -e '.[parquet]' in the project's folder"

Row = Mapping[str, Any]


def read_rows(path: Path, name: str) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Yield the rows, numbered from 1, without the columns that are null in them.

    Raises: InvalidInput for what is no Parquet file, and where the package to read one is not there.
    """
    arrow, parquet = _packages(name)
    try:
        with parquet.ParquetFile(path) as file:
            _check_columns(file, name)
            number = 0
            for batch in file.iter_batches(batch_size=BATCH):
                # Row by row: as Python's objects a batch of long texts is many times as large.
                for place in range(batch.num_rows):
                    number += 1
                    yield number, _plain(batch.slice(place, 1).to_pylist()[0])
    except FileNotFoundError:
        raise InvalidInput(f"{name}: there is no such file") from None
    except (arrow.ArrowException, OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}: this Parquet file cannot be read: {_line(error)}") from None


def write_rows(rows: Iterable[Row], path: Path, name: str) -> None:
    """Write rows as one Parquet file; a key that a row does not have is null in it.

    A column has one kind of values: where some rows have text and some messages, all get messages of the same meaning.

    Raises: InvalidInput where one key holds values of several kinds that nothing makes one.
    """
    arrow, parquet = _packages(name)
    rows = list(rows)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    arrays = []
    for key in columns:
        values = _of_one_kind(key, [row.get(key) for row in rows])
        try:
            arrays.append(arrow.array(values))
        except (arrow.ArrowException, OverflowError, UnicodeError) as error:
            raise InvalidInput(
                f"{name}: the key {json.dumps(key, ensure_ascii=False)[:100]} cannot be a column of Parquet: "
                f"{_clash(values) or _line(error)}",
                hint="export JSON lines instead",
            ) from None
    try:
        parquet.write_table(arrow.Table.from_arrays(arrays, names=columns), path)
    except (arrow.ArrowException, UnicodeError) as error:
        told = f"{name}: these rows cannot be Parquet: {_line(error)}"
        raise InvalidInput(told, hint="export JSON lines instead") from None


def _of_one_kind(key: str, values: list[Any]) -> list[Any]:
    """Values that say the same in the kind that all of them can have, where there is one."""
    kinds = {type(value) for value in values if value is not None}
    if key in CONVERSATIONS and kinds == {str, list}:
        return [_messages(key, value) if isinstance(value, str) else value for value in values]
    numbers = [number for value in values if isinstance(value, list) for number in value]
    if kinds == {list} and {bool} < {type(number) for number in numbers} <= {bool, int, float}:
        return [value and [float(number) for number in value] for value in values]
    return values


def _messages(key: str, text: str) -> list[dict[str, Any]]:
    speaker = "user" if key == "prompt" else "assistant"
    turns = dialogue(text, key) or (Message(role=speaker, content=text),)
    return [turn.model_dump() for turn in turns]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def _packages(name: str) -> tuple[Any, Any]:
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


def _clash(values: Sequence[object]) -> str:
    """Which kinds of values a column would have, where they are several."""
    kinds = list(dict.fromkeys(kind_of(value) for value in values if value is not None))
    return f"it is {' in some rows and '.join(kinds)} in others" if len(kinds) > 1 else ""
