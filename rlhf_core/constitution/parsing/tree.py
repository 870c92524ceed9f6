"""YAML 1.2 text as plain data with the place of every key and value. No aliases, tags or code: text is data.

Every YAML file that a user writes is read here: constitutions, runs, servers, tokens.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

from rlhf_core.constitution.validation.problems import Mark, Problem, one_line

MAX_DEPTH = 16
Path = tuple[str | int, ...]

_NULL = re.compile(r"~|null|Null|NULL|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_STR_TAG = "tag:yaml.org,2002:str"

_LIBYAML: Any = getattr(yaml, "CLoader", None)
"""Reads many times faster than ruamel.yaml, where PyYAML was built with it."""
_ONLY_YAML_1_2 = re.compile("[\t\x85\u2028\u2029\ufeff]")
"""What libyaml, which knows YAML 1.1, reads in another way."""


class Tree(NamedTuple):
    """`keys` and `values` give the place of what is at a path, such as ("principles", 3, "weight")."""

    source: str
    data: object
    keys: dict[Path, Mark]
    values: dict[Path, Mark]
    problems: list[Problem]

    def problem(self, code: str, path: Path, message: str, hint: str = "", key: bool = False) -> Problem:
        """Return a problem at this path's value, or at its key.

        It is at the nearest parent where the path itself is missing.
        """
        mark = self.keys.get(path) if key else None
        while mark is None:
            mark = self.values.get(path) if path else self.values[()]
            path = path[:-1]
        return Problem(self.source, *mark, code, one_line(message), one_line(hint))


def mapping(value: object) -> dict[str, Any]:
    """Return the value if it is a mapping, else an empty mapping."""
    return value if isinstance(value, dict) else {}


def rows(body: dict[str, Any], key: str, path: Path = ()) -> list[tuple[Path, dict[str, Any]]]:
    """Return the mappings in the list under this key, each with its path."""
    listed = body.get(key)
    entries = enumerate(listed if isinstance(listed, list) else [])
    return [((*path, key, index), entry) for index, entry in entries if isinstance(entry, dict)]


def read_tree(text: str, source: str) -> Tree:
    """Read the tree, and its syntax problems (C001); `data` is None after the kind of mistake that stops the parser.

    A text that holds nothing is a tree without values and without problems.
    """
    fast = None if _LIBYAML is None or _ONLY_YAML_1_2.search(text) else _fast_tree(text, source)
    return fast or _exact_tree(text, source)


def _fast_tree(text: str, source: str) -> Tree | None:
    """The tree of a text without syntax errors; ruamel.yaml is to explain those of any other."""
    builder = _Builder(source)
    try:
        for event in yaml.parse(text, Loader=_LIBYAML):
            if getattr(event, "anchor", None):
                return None  # the two parsers end its name at different letters
            builder.take(event)
    except Exception:  # whatever is wrong, the other parser says it better
        return None
    return Tree(source, builder.data, builder.keys, builder.values, builder.problems) if builder.values else None


def _exact_tree(text: str, source: str) -> Tree:
    builder, parser = _Builder(source), YAML(typ="safe", pure=True)
    parser.Scanner = _ShallowScanner
    try:
        for event in parser.parse(text):
            builder.take(event)
    except _FatalError:
        return Tree(source, None, {}, {}, builder.problems)
    except Exception as error:  # hostile text has the parser raise more than its own errors: "\\UFFFFFFFF" overflows
        return Tree(source, None, {}, {}, [*builder.problems, _syntax_problem(error, text, source, builder.last)])
    return Tree(source, builder.data, builder.keys, builder.values, builder.problems)


class _ShallowScanner(Scanner):
    """Reads no further than what is nested too deeply: it looks ahead by 1024 brackets, and back at each from each."""

    def fetch_more_tokens(self) -> Any:
        return self.fetch_stream_end() if self.flow_level > MAX_DEPTH else super().fetch_more_tokens()


class _FatalError(Exception):
    """Nothing after this point can be understood."""


class _Open:
    """A mapping or list whose end has not been read. `slot` is where its next value goes; None waits for a key."""

    def __init__(self, container: dict[str, Any] | list[Any], path: Path):
        self.container, self.path = container, path
        self.slot: str | int | None = None if isinstance(container, dict) else 0
        self.repeated = False


class _Builder:
    def __init__(self, source: str):
        self.source = source
        self.data: object = None
        self.keys: dict[Path, Mark] = {}
        self.values: dict[Path, Mark] = {}
        self.problems: list[Problem] = []
        self.last = Mark(1, 1)
        self._open: list[_Open] = []

    def take(self, event: Any) -> None:
        """Take an event of either parser; their classes have the same names."""
        self.last = mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        kind = type(event).__name__
        if kind in ("MappingEndEvent", "SequenceEndEvent"):
            self._open.pop()
        elif kind == "DocumentStartEvent" and self.values:
            self._stop(mark, "a second document begins", "keep one document in a file")
        elif kind == "AliasEvent":
            self._stop(mark, "aliases are not allowed", "write the text out where it is used")
        elif kind in ("ScalarEvent", "MappingStartEvent", "SequenceStartEvent"):
            self._take_node(event, kind, mark)

    def _take_node(self, event: Any, kind: str, mark: Mark) -> None:
        if event.tag not in (None, "!", _STR_TAG):
            self._stop(mark, f"the tag {event.tag} is not allowed", "write plain text and numbers")
        here = self._open[-1] if self._open else None
        if here is not None and here.slot is None:
            self._take_key(here, event, kind, mark)
        elif kind == "ScalarEvent":
            self._place(_scalar(event), mark)
        else:
            container: dict[str, Any] | list[Any] = {} if kind == "MappingStartEvent" else []
            path = self._place(container, mark)
            self._open.append(_Open(container, path))
            if len(self._open) > MAX_DEPTH:
                self._stop(mark, f"more than {MAX_DEPTH} levels of nesting", "a few are enough")

    def _take_key(self, here: _Open, event: Any, kind: str, mark: Mark) -> None:
        if kind != "ScalarEvent":
            self._stop(mark, "a key is a list or a mapping", "keys are words; text with braces needs quotes")
        path = (*here.path, event.value)
        here.slot, here.repeated = event.value, path in self.keys
        if here.repeated:
            message = f'the key "{event.value}" is given twice; first on line {self.keys[path].line}'
            self.problems.append(Problem(self.source, *mark, "C001", one_line(message), "remove one of them"))
        else:
            self.keys[path] = mark

    def _place(self, value: object, mark: Mark) -> Path:
        """Put a value where its parent wants it; the value of a repeated key is read but goes nowhere."""
        if not self._open:
            self.data, self.values[()] = value, mark
            return ()
        here = self._open[-1]
        path = (*here.path, here.slot if here.slot is not None else "")
        if isinstance(here.container, list):
            here.container.append(value)
            here.slot = len(here.container)
        else:
            if here.repeated:
                path = (*here.path, "", "repeated", *mark)
            else:
                here.container[str(here.slot)] = value
            here.slot = None
        self.values[path] = mark
        return path

    def _stop(self, mark: Mark, message: str, hint: str) -> None:
        self.problems.append(Problem(self.source, *mark, "C001", one_line(message), hint))
        raise _FatalError


def _scalar(event: Any) -> object:
    """The core schema of YAML 1.2: `no`, `on` and dates are text."""
    text: str = event.value
    if event.tag is not None or not event.implicit[0]:
        return text
    if _NULL.fullmatch(text):
        return None
    if _BOOL.fullmatch(text):
        return text.lower() == "true"
    if _INT.fullmatch(text) and len(text) < 18:
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _syntax_problem(error: Exception, text: str, source: str, mark: Mark) -> Problem:
    message = "this is not YAML from here on"
    if isinstance(error, MarkedYAMLError):
        place = error.problem_mark or error.context_mark
        message = " ".join(str(part) for part in (error.context, error.problem) if part)
        mark = Mark(place.line + 1, place.column + 1) if place else mark
    elif isinstance(error, ReaderError):
        before = text[: error.position].split("\n")
        mark = Mark(len(before), len(before[-1]) + 1)
        message = f"the character U+{ord(text[error.position]):04X} is not allowed"
    elif isinstance(error, YAMLError):
        message = str(error).splitlines()[0]
    tab = "'\\t'" in message
    hint = "indent with spaces, not tabs" if tab else "quote text that holds a colon, #, braces or a leading symbol"
    return Problem(source, *mark, "C001", one_line(message), hint)
