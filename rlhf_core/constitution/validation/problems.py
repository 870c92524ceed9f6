"""What is wrong with a constitution, and where: all of it at once.

C000 the file cannot be read             C030 a text lacks a placeholder that it needs
C001 YAML syntax, a key given twice      C031 unknown placeholder, lone brace
C010 unknown key                         C032 empty text, text too long
C011 wrong type, unknown choice          C033 critique without revise, or the other way round
C012 unknown schema version              C034 a rule that cannot be used
C013 missing key, empty list             C040 extends: not found, a cycle, version unmet
C014 the version is not semantic         C041 disable or priority name an unknown principle
C020 an id is used twice                 C050 an example or test lacks a key, or breaks a rule
C021 the id or name is not allowed       C060 changed since this version was released
C022 unknown objective
C023 an objective without a principle    W101 takes a fault for granted   W102 near duplicate
C024 weight or number out of range       W103 only harm counts            W104 only negative
                                         W105 no tests                    W106 names a group or a person
                                         W107 a question costs nothing
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from rlhf_core.errors import InvalidInput


class Mark(NamedTuple):
    """A place in a file; both count from 1."""

    line: int
    column: int


class Problem(NamedTuple):
    """One mistake: `code` is stable (C an error, W a warning), `hint` says what would be right."""

    file: str
    line: int
    column: int
    code: str
    message: str
    hint: str = ""

    @property
    def severity(self) -> Literal["error", "warning"]:
        """A warning keeps no constitution from being used."""
        return "warning" if self.code.startswith("W") else "error"

    def __str__(self) -> str:
        hint = f"; {self.hint}" if self.hint else ""
        return f"{self.file}:{self.line}:{self.column} {self.code} {self.message}{hint}"


class InvalidConstitution(InvalidInput):
    """The constitution has mistakes; `problems` holds every one of them, in the order of its files."""

    def __init__(self, problems: Iterable[Problem]):
        self.problems = in_order(problems)
        super().__init__("\n".join(map(str, self.problems)), field="constitution")


def in_order(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Return each problem once, file by file as they are first named, from top to bottom."""
    each = list(dict.fromkeys(problems))
    files = {file: rank for rank, file in enumerate(dict.fromkeys(problem.file for problem in each))}
    return tuple(sorted(each, key=lambda p: (files[p.file], p.line, p.column, p.code)))


def one_line(text: str) -> str:
    """Cut the text to 300 characters, with line breaks, control characters and lone surrogates written out."""
    cut = text if len(text) <= 300 else f"{text[:297]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in cut)


def shown(value: object) -> str:
    """Return a value as its writer knows it, cut short."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
