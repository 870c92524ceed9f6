"""Files of rows, JSON lines or Parquet, read one at a time: every bad row is named with its line and what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import rlhf_core
from rlhf_core.data.jsonl import RowError, lines, parsed
from rlhf_core.errors import InvalidInput

BUILTIN_DATA = "builtin:"
"""Begins the name of a file that comes with the package, as in builtin:everyday-train."""
FOLDER = Path(rlhf_core.__file__).parents[1] / "constitutions" / "prompts"
PARQUET = b"PAR1"
"""Begins a file that holds its rows as Parquet, and no line of JSON."""
MAX_SHOWN = 20

T = TypeVar("T")


class RowFile(NamedTuple):
    """A file of rows: what it is called where something is wrong with it, and where it lies."""

    name: str
    path: Path


Source = str | Path | RowFile
"""A file of rows by its path, by the name of one that is built in, or with a name of its own."""


class Located(NamedTuple, Generic[T]):
    """What a row says, and where it stands: `file:line`."""

    place: str
    record: T


def load_rows(source: Source, read: Callable[[dict[str, Any], str], T]) -> list[T]:
    """Load all rows or none: the bad lines are reported together, the first 20 in full.

    `read` sees no key that is null.
    """
    return [row.record for row in locate_rows(source, read)]


def locate_rows(source: Source, read: Callable[[dict[str, Any], str], T]) -> list[Located[T]]:
    """Load rows as `load_rows` does, each with its place."""
    return list(_checked(row_file(source), read))


def count_rows(source: Source, read: Callable[[dict[str, Any], str], object]) -> int:
    """Count a file's rows, each of them read, and none kept. Raises as `load_rows`."""
    return sum(1 for _ in _checked(row_file(source), read))


def row_file(source: Source) -> RowFile:
    """Find the file behind a path or a built-in name; InvalidInput lists the built-in names that there are."""
    if isinstance(source, RowFile):
        return source
    name = str(source)
    if not name.startswith(BUILTIN_DATA):
        return RowFile(name, Path(source))
    known = sorted(file.stem for file in FOLDER.glob("*.jsonl"))
    if (stem := name.removeprefix(BUILTIN_DATA)) not in known:
        raise InvalidInput(f"{name}: nothing built in has this name; allowed: {', '.join(known)}")
    return RowFile(name, FOLDER / f"{stem}.jsonl")


def raw_rows(file: RowFile) -> Iterator[tuple[int, dict[str, Any] | RowError]]:
    """Yield the rows as they stand in the file, or what is wrong with them, numbered from 1.

    A number is that of the line, in Parquet that of the row.
    """
    if is_parquet(file.path):
        # Here, as its package is optional, and takes its time to load.
        from rlhf_core.data.parquet import read_rows

        yield from read_rows(file.path, file.name)
        return
    for number, line in lines(file.path, file.name):
        try:
            yield number, parsed(line)
        except RowError as error:
            yield number, error


def is_parquet(path: Path) -> bool:
    """Tell whether a file holds Parquet; False for one that cannot be read, which its reader will tell."""
    try:
        with path.open("rb") as file:
            return file.read(len(PARQUET)) == PARQUET
    except (OSError, ValueError):
        return False


def _checked(file: RowFile, read: Callable[[dict[str, Any], str], T]) -> Iterator[Located[T]]:
    """The rows up to the first bad one; raises in the end, naming every bad one, where there are any."""
    problems: list[str] = []
    bad = count = 0
    for number, row in raw_rows(file):
        count += 1
        place = f"{file.name}:{number}"
        try:
            if isinstance(row, RowError):
                raise row
            record = read(row, Path(file.name).name)
        except RowError as error:
            bad += 1
            if bad <= MAX_SHOWN:
                problems.append(f"{place}: {error}")
            continue
        if not bad:
            yield Located(place, record)
    if bad > MAX_SHOWN:
        problems.append(f"{file.name}: and {bad - MAX_SHOWN} more bad lines")
    if problems:
        raise InvalidInput("\n".join(problems))
    if not count:
        raise InvalidInput(f"{file.name}: the file has no rows")


def shown(problems: Sequence[str], more: str) -> str:
    """Write out the first 20 of the bad lines, and how many others there are."""
    others = len(problems) - MAX_SHOWN
    return "\n".join([*problems[:MAX_SHOWN], *([more.format(others)] if others > 0 else [])])
