"""Records to rows and back: one column for each field, JSON text where a field is a collection or a record."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TypeVar, get_origin

from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import Record
from rlhf_core.store.connection import Connection, Row

RecordType = TypeVar("RecordType", bound=Record)
Columns = Mapping[str, object]


def utc_text(time: datetime) -> str:
    """Write a time as ISO-8601 with microseconds and Z: of one length, so that text order is time order."""
    return time.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def now() -> str:
    return time_text(0)


def time_text(seconds: float) -> str:
    """Write the time so many seconds from now, by this host's clock."""
    return utc_text(datetime.now(UTC) + timedelta(seconds=seconds))


def to_row(record: Record, exclude: set[str] | None = None) -> dict[str, object]:
    """Write the record's fields, less `exclude`; collections as JSON text."""
    fields = record.model_dump(exclude=exclude)
    return {name: to_json(value) if isinstance(value, (dict, tuple, list)) else value for name, value in fields.items()}


def from_row(model: type[RecordType], row: Row, **given: object) -> RecordType:
    """Read a record from a row; `given` fields are taken as they are and need no column."""
    json_fields = _json_fields(model)
    values = {
        name: json.loads(row[name]) if name in json_fields else row[name]
        for name in model.model_fields
        if name not in given
    }
    return model.model_validate(values | given)


def insert(connection: Connection, table: str, rows: Sequence[Columns], key: str = "id") -> None:
    """Insert rows with equal keys in equal order; one whose `key` is in the table already changes nothing."""
    if not rows:
        return
    columns = ", ".join(f'"{name}"' for name in rows[0])
    values = ", ".join(f":{name}" for name in rows[0])
    # Not INSERT OR IGNORE: that would also drop a row with a missing or non-finite number, silently.
    sql = f"INSERT INTO {table} ({columns}) VALUES ({values}) ON CONFLICT ({key}) DO NOTHING"
    try:
        connection.executemany(sql, rows)
    except (OverflowError, UnicodeEncodeError) as error:
        allowed = "whole numbers of 64 bits, text of whole Unicode characters"
        raise InvalidInput(f"{table}: {error}; allowed: {allowed}") from error


def stamped(records: Iterable[Record]) -> list[Columns]:
    """Write records as rows, with the time of writing."""
    time = now()
    return [to_row(record) | {"created_at": time} for record in records]


def bytes_hash(text: str) -> str:
    """Return the first 16 hex digits of the sha256 of the text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _json_fields(model: type[Record]) -> frozenset[str]:
    def is_json(annotation: object) -> bool:
        return get_origin(annotation) in (tuple, dict) or (
            isinstance(annotation, type) and issubclass(annotation, Record)
        )

    return frozenset(name for name, field in model.model_fields.items() if is_json(field.annotation))
