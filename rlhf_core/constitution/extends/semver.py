"""Semantic versions and the ranges of them that `extends` may ask for (semver.org; ^ and ~ as package managers do)."""

from __future__ import annotations

import re
from typing import NamedTuple

_NUMBER = r"(0|[1-9]\d{0,8})"
_TAIL = r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?"
_VERSION = re.compile(rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}{_TAIL}", re.ASCII)
_RANGE = re.compile(rf"([\^~]?){_NUMBER}(?:\.{_NUMBER})?(?:\.{_NUMBER}{_TAIL})?", re.ASCII)


class Version(NamedTuple):
    major: int
    minor: int
    patch: int
    prerelease: str = ""


class Range(NamedTuple):
    """Versions from `low` up to, not including, `high`. A prerelease is met only by naming it: `exact`."""

    low: tuple[int, ...]
    high: tuple[int, ...]
    exact: str = ""


def parse_version(text: str) -> Version | None:
    """Read `2.1.0` or `2.1.0-rc.1`; None for anything else."""
    found = _VERSION.fullmatch(text)
    return Version(int(found[1]), int(found[2]), int(found[3]), found[4] or "") if found else None


def parse_range(text: str) -> Range | None:
    """Read `^1.2`, `~1.2` or `1.2`; None for anything else.

    `^` allows all but a change of the first number that is not 0, `~` all but a change of the second number;
    a bare version allows what it leaves open.
    """
    found = _RANGE.fullmatch(text)
    if found is None:
        return None
    given = [int(number) for number in found.groups()[1:4] if number is not None]
    if found[1] == "^":
        fixed = next((at for at, number in enumerate(given) if number), len(given) - 1)
    else:
        fixed = min(1, len(given) - 1) if found[1] else len(given) - 1
    high = [*given[:fixed], given[fixed] + 1]
    return Range(_triple(given), _triple(high), found[5] or "")


def satisfies(version: Version, wanted: Range) -> bool:
    """Tell whether this version is in the range."""
    if version.prerelease or wanted.exact:
        return (version[:3], version.prerelease) == (wanted.low, wanted.exact)
    return wanted.low <= version[:3] < wanted.high


def _triple(numbers: list[int]) -> tuple[int, ...]:
    return tuple([*numbers, 0, 0][:3])
