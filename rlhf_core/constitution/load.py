"""From YAML text to a constitution, or to every mistake in it with its line and column."""

from __future__ import annotations

from typing import NamedTuple

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.extends.flatten import flat_yaml
from rlhf_core.constitution.extends.resolve import resolve
from rlhf_core.constitution.sources import BUILTIN, MAX_BYTES, Source, open_builtin, open_source, text_source
from rlhf_core.constitution.validation.lints import lint_tree
from rlhf_core.constitution.validation.problems import InvalidConstitution, Problem, in_order

__all__ = [
    "BUILTIN",
    "MAX_BYTES",
    "Examination",
    "builtin_text",
    "constitution_text",
    "examine_constitution",
    "examine_text",
    "load_constitution",
    "load_with_text",
    "parse_constitution",
    "parse_with_text",
]


class Examination(NamedTuple):
    """A constitution with its warnings, or None with its errors (and the warnings that can be told all the same)."""

    constitution: Constitution | None
    problems: tuple[Problem, ...]


def load_constitution(path_or_builtin: str) -> Constitution:
    """Load the constitution in a file, or a built-in one by name. Raises InvalidConstitution with every problem."""
    return _constitution(open_source(path_or_builtin))


def parse_constitution(text: str, source: str) -> Constitution:
    """Parse the constitution in this text; `source` names it in errors. Raises InvalidConstitution with every problem.

    The text may extend what is built in, but no file: it may have come from another machine.
    """
    return _constitution(text_source(text, source))


def examine_constitution(path_or_builtin: str) -> Examination:
    """Return all errors and warnings of a file or a built-in constitution, an unreadable file among them."""
    try:
        return _examine(open_source(path_or_builtin))
    except InvalidConstitution as error:
        return Examination(None, error.problems)


def examine_text(text: str, source: str) -> Examination:
    """Return all errors and warnings of a text, which may extend what is built in, but no file."""
    try:
        return _examine(text_source(text, source))
    except InvalidConstitution as error:
        return Examination(None, error.problems)


def constitution_text(path_or_builtin: str) -> str:
    """Return the YAML text of a file or of a built-in constitution. Raises InvalidConstitution (C000) if unreadable."""
    return open_source(path_or_builtin).text


def builtin_text(name: str) -> str:
    """Return the YAML text of a built-in constitution. Raises InvalidConstitution (C000) with the known names."""
    return open_builtin(name, name).text


def load_with_text(path_or_builtin: str) -> tuple[Constitution, str]:
    """Load the constitution, and YAML of the same meaning and hash that needs no other file.

    Raises InvalidConstitution.

    That text is to be stored or sent, since what a file extends may change or be absent; a file that extends nothing
    gives its own.
    """
    return _with_text(open_source(path_or_builtin))


def parse_with_text(text: str, source: str) -> tuple[Constitution, str]:
    """Parse a text that is no file, as `load_with_text` does a file."""
    return _with_text(text_source(text, source))


def _with_text(source: Source) -> tuple[Constitution, str]:
    constitution = _constitution(source)
    return constitution, flat_yaml(constitution) if constitution.extends else source.text


def _constitution(source: Source) -> Constitution:
    reading = resolve(source)
    if reading.constitution is None:
        raise InvalidConstitution(reading.problems)
    return reading.constitution


def _examine(source: Source) -> Examination:
    reading = resolve(source)
    problems = [*reading.problems, *lint_tree(reading.tree, reading.constitution)]
    return Examination(reading.constitution, in_order(problems))
