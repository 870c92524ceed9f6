"""JSON lines, read one at a time: every bad one is named with its number and what is wrong."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import rlhf_core
from rlhf_core.errors import InvalidInput

BUILTIN_DATA = "builtin:"
"""Begins the name of a file that comes with the package, as in builtin:everyday-train."""
FOLDER = Path(rlhf_core.__file__).parents[1] / "constitutions" / "prompts"
MAX_LINE_BYTES = 16_000_000
MAX_SHOWN = 20

T = TypeVar("T")


class RowError(ValueError):
    """What is wrong with one row."""


class Located(NamedTuple, Generic[T]):
    """What a row says, and where it stands: `file:line`."""

    place: str
    record: T


def load_rows(path: str | Path, read: Callable[[dict[str, Any], str], T]) -> list[T]:
    """All rows or none: the bad lines are reported together, the first 20 in full. `read` sees no key that is null."""
    return [row.record for row in locate_rows(path, read)]


def locate_rows(path: str | Path, read: Callable[[dict[str, Any], str], T]) -> list[Located[T]]:
    """As `load_rows`, with the place of each."""
    rows: list[Located[T]] = []
    problems: list[str] = []
    for number, line in _lines(path):
        place = f"{path}:{number}"
        try:
            record = read(_row(line), Path(path).name)
            if not problems:
                rows.append(Located(place, record))
        except RowError as error:
            rows.clear()
            problems.append(f"{place}: {error}")
    if problems:
        raise InvalidInput(shown(problems, f"{path}: and {{}} more bad lines"))
    if not rows:
        raise InvalidInput(f"{path}: the file has no rows")
    return rows


def shown(problems: Sequence[str], more: str) -> str:
    """The first 20 of them, a line each, and how many others there are."""
    others = len(problems) - MAX_SHOWN
    return "\n".join([*problems[:MAX_SHOWN], *([more.format(others)] if others > 0 else [])])


def read_text(value: Any, name: str) -> str:
    """RowError unless the value is text; `name` is where it stands in the row."""
    if not isinstance(value, str):
        raise RowError(f"'{name}' is {kind_of(value)}; expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise RowError(f"'{name}' holds a lone surrogate, which is not text") from None
    return value


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1, one in memory at a time."""
    try:
        with _file(path).open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidInput(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InvalidInput(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path}: the file cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _file(path: str | Path) -> Path:
    """Where a path is, or a built-in name; InvalidInput lists the names that there are."""
    name = str(path)
    if not name.startswith(BUILTIN_DATA):
        return Path(path)
    known = sorted(file.stem for file in FOLDER.glob("*.jsonl"))
    if (stem := name.removeprefix(BUILTIN_DATA)) not in known:
        raise InvalidInput(f"{name}: nothing built in has this name; allowed: {', '.join(known)}")
    return FOLDER / f"{stem}.jsonl"


def _row(line: bytes) -> dict[str, Any]:
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
    """Whether the value is null or not a number: what tables write where a column has nothing."""
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
