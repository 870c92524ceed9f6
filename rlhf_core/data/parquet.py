"""Rows as Parquet: the same rows as JSON lines hold, one column for each key."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.data.conversations import dialogue
from rlhf_core.data.jsonl import MAX_LINE_BYTES, RowError, RowFile, is_absent, kind_of, raw_rows
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message

BATCH = 16
"""Rows in memory at once, at most."""
BATCH_BYTES = 2**26
"""Fewer where they could be longer than this together."""
BUFFER_BYTES = 2**20
"""What is read of a column at a time, as it lies in the file."""
GROUP_ROWS, GROUP_BYTES = 10_000, 2**24
"""Rows and bytes of text of one row group that is written."""
MAX_ROWS = 50_000_000
"""A file of few bytes may claim any number."""
CONVERSATIONS = ("prompt", "completion", "response", "chosen", "rejected")
"""Keys under which text and messages mean the same."""
HINT = "pip install -e '.[parquet]' in the project's folder"

Row = Mapping[str, Any]


def read_rows(path: Path, name: str, after: int = 0) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Yield the rows behind the first `after`, numbered from 1, without the columns that are null in them.

    Raises: InvalidInput for what is no Parquet file, and where the package to read one is not there.
    """
    arrow, parquet = _packages(name)
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
        raise InvalidInput(f"{name}: this Parquet file cannot be read: {_line(error)}") from None


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


def write_rows(source: RowFile, path: Path) -> None:
    """Write a file's rows as one Parquet file; a key that a row does not have is null in it.

    A column has one kind of values: where some rows have text and some messages, all get messages of the same meaning.
    The rows are read three times, few of them in memory: for what kinds of values there are, for the columns' types,
    and to be written.

    Raises: InvalidInput where one key holds values of several kinds that nothing makes one.
    """
    arrow, parquet = _packages(source.name)
    columns = _columns(source)
    schema = _schema(arrow, source, columns)
    try:
        with parquet.ParquetWriter(path, schema) as writer:
            for rows in _groups(source):
                arrays = [
                    arrow.array(_values(rows, field.name, columns[field.name]), type=field.type) for field in schema
                ]
                writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
    except (arrow.ArrowException, OverflowError, UnicodeError) as error:
        path.unlink(missing_ok=True)
        told = f"{source.name}: these rows cannot be Parquet: {_line(error)}"
        raise InvalidInput(told, hint="export JSON lines instead") from None


class _Column(NamedTuple):
    """What values of one key there are, in the order in which they came."""

    kinds: dict[type, str]
    """Each with its name."""
    items: set[type]
    """Of those that are lists."""

    def add(self, value: Any) -> None:
        self.kinds.setdefault(type(value), kind_of(value))
        if isinstance(value, list):
            self.items.update(map(type, value))

    @property
    def mixes_conversations(self) -> bool:
        return self.kinds.keys() == {str, list}

    @property
    def mixes_numbers(self) -> bool:
        """A list of true and false says the same in numbers."""
        return self.kinds.keys() == {list} and {bool} < self.items <= {bool, int, float}

    @property
    def clash(self) -> str:
        """Which kinds of values there are, where they are several."""
        names = list(dict.fromkeys(self.kinds.values()))
        return f"it is {' in some rows and '.join(names)} in others" if len(names) > 1 else ""


def _columns(source: RowFile) -> dict[str, _Column]:
    columns: dict[str, _Column] = {}
    for row in _good(source):
        for key, value in row.items():
            columns.setdefault(key, _Column({}, set())).add(value)
    return columns


def _schema(arrow: Any, source: RowFile, columns: Mapping[str, _Column]) -> Any:
    """The type of each column. Raises InvalidInput naming the key whose values have none in common."""
    found = {key: arrow.null() for key in columns}
    for rows in _groups(source):
        for key, column in columns.items():
            try:
                own = arrow.array(_values(rows, key, column)).type
                both = [arrow.schema([(key, kind)]) for kind in (found[key], own)]
                found[key] = arrow.unify_schemas(both, promote_options="permissive").field(0).type
            except (arrow.ArrowException, OverflowError, UnicodeError) as error:
                raise InvalidInput(
                    f"{source.name}: the key {json.dumps(key, ensure_ascii=False)[:100]} cannot be a column of "
                    f"Parquet: {column.clash or _line(error)}",
                    hint="export JSON lines instead",
                ) from None
    return arrow.schema(list(found.items()))


def _values(rows: Sequence[Row], key: str, column: _Column) -> list[Any]:
    """A key's values in the kind that all of them can have, where there is one."""
    values = [row.get(key) for row in rows]
    if key in CONVERSATIONS and column.mixes_conversations:
        return [_messages(key, value) if isinstance(value, str) else value for value in values]
    if column.mixes_numbers:
        return [value and [float(number) for number in value] for value in values]
    return values


def _groups(source: RowFile) -> Iterator[list[Row]]:
    """The rows, as many at a time as one row group has."""
    group: list[Row] = []
    size = 0
    for row in _good(source):
        group.append(row)
        size += _size(row)
        if len(group) == GROUP_ROWS or size >= GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _good(source: RowFile) -> Iterable[Row]:
    return (row for _, row in raw_rows(source) if not isinstance(row, RowError))


def _size(value: Any) -> int:
    """About so many bytes of text."""
    if isinstance(value, str):
        return len(value)
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return 8 + sum(map(_size, inside))


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
