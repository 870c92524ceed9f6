"""Rows as Parquet, written: a column for each key, with one kind of values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.data.conversations import dialogue
from rlhf_core.data.jsonl import RowError, kind_of
from rlhf_core.data.parquet import line_of, packages
from rlhf_core.data.row_files import RowFile, raw_rows
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message

GROUP_ROWS, GROUP_BYTES = 10_000, 2**24
"""Rows and bytes of text of one row group that is written."""
CONVERSATIONS = ("prompt", "completion", "response", "chosen", "rejected")
"""Keys under which text and messages mean the same."""

Row = Mapping[str, Any]


def write_rows(source: RowFile, path: Path) -> None:
    """Write a file's rows as one Parquet file; a key that a row does not have is null in it.

    A column has one kind of values: where some rows have text and some messages, all get messages of the same meaning.
    The rows are read three times, few of them in memory: for what kinds of values there are, for the columns' types,
    and to be written.

    Raises: InvalidInput where one key holds values of several kinds that nothing makes one.
    """
    arrow, parquet = packages(source.name)
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
        told = f"{source.name}: these rows cannot be Parquet: {line_of(error)}"
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
                    f"Parquet: {column.clash or line_of(error)}",
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
    try:
        turns = dialogue(text, key)
    except RowError:  # of markers that no conversation has
        turns = ()
    turns = turns or (Message(role=speaker, content=text),)
    return [turn.model_dump() for turn in turns]
