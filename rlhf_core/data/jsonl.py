"""Rows as JSON lines: one object on each, and what is wrong where there is none."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rlhf_core.errors import InvalidInput

MAX_LINE_BYTES = 16_000_000


class RowError(ValueError):
    """What is wrong with one row."""


def lines(path: Path, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, numbered from 1, one in memory at a time."""
    try:
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidInput(f"{name}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InvalidInput(f"{name}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{name}: the file cannot be read: {getattr(error, 'strerror', None) or error}") from None


def parsed(line: bytes) -> dict[str, Any]:
    """Return a line's object, without the keys that are null. Raises RowError."""
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
    except RowError:
        raise
    except UnicodeDecodeError as error:
        raise RowError(f"byte {error.start + 1} of the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise RowError(f"this is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise RowError("this JSON is nested too deeply or holds a number that is too long") from None
    if not isinstance(row, dict):
        raise RowError(f"the row is {kind_of(row)}; expected one JSON object on each line")
    return {key: value for key, value in row.items() if not is_absent(value)}


def is_absent(value: object) -> bool:
    """Tell whether the value is null or not a number: what tables write where a column has nothing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise RowError(f"the key {json.dumps(repeated)} is given twice")
    return dict(pairs)


def kind_of(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")


def read_text(value: Any, name: str) -> str:
    """Refuse a value that is no text, by a RowError; `name` is where it stands in the row."""
    if not isinstance(value, str):
        raise RowError(f"'{name}' is {kind_of(value)}; expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"'{name}' holds a lone surrogate, which is not text") from None
    return value
