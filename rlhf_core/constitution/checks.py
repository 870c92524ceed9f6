"""What a well-formed constitution must also mean. Each check reads raw data, so that one mistake hides no other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from rlhf_core.constitution.problems import Problem, quoted, shown, suggestion
from rlhf_core.constitution.tree import Path, Tree

MAX_TEXT = 4000
"""Characters of one critique, revision or comparison request; more would crowd the judge's context."""

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII)


def check(tree: Tree) -> Iterator[Problem]:
    """Ids, texts, objectives and weights; values of the wrong type are left to `read_form`."""
    top = _mapping(tree.data)
    listed = top.get("principles")
    bodies = enumerate(listed if isinstance(listed, list) else [])
    principles: list[tuple[Path, dict[str, Any]]] = [
        (("principles", index), body) for index, body in bodies if isinstance(body, dict)
    ]
    yield from _names(tree, top, principles)
    yield from _repeated_ids(tree, principles)
    yield from _texts(tree, top, principles)
    for path, body in principles:
        yield from _critique_and_revise(tree, path, body)
        yield from _serves(tree, path, body, list(_mapping(top.get("objectives"))))
    yield from _objectives(tree, _mapping(top.get("objectives")), [body for _, body in principles])


def _names(tree: Tree, top: dict[str, Any], principles: list[tuple[Path, dict[str, Any]]]) -> Iterator[Problem]:
    hint = "lower-case words joined by hyphens, as in leave-a-next-step"
    for path, body in [((), top), *principles]:
        name = body.get("id")
        if isinstance(name, str) and not _ID.fullmatch(name):
            yield tree.problem("C021", (*path, "id"), f"the id {shown(name)} is not allowed", hint)
    for name in _mapping(top.get("objectives")):
        if not _NAME.fullmatch(name):
            message = f"the objective name {shown(name)} is not allowed"
            yield tree.problem("C021", ("objectives", name), message, "a lower-case word, as in helpful", key=True)
    version = top.get("version")
    if isinstance(version, str) and not _SEMVER.fullmatch(version):
        yield tree.problem(
            "C014", ("version",), f"the version {shown(version)} is not semantic", "write it as in 1.0.0"
        )


def _repeated_ids(tree: Tree, principles: list[tuple[Path, dict[str, Any]]]) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for path, body in principles:
        name = body.get("id")
        if not isinstance(name, str):
            continue
        line = tree.values[(*path, "id")].line
        if name in first:
            message = f'the principle id "{name}" is used on lines {first[name]} and {line}'
            yield tree.problem("C020", (*path, "id"), message, "give each principle its own id")
        first.setdefault(name, line)


def _texts(tree: Tree, top: dict[str, Any], principles: list[tuple[Path, dict[str, Any]]]) -> Iterator[Problem]:
    for path, body in [((), top), *principles]:
        for key in ("title", "critique", "revise", "compare"):
            text = body.get(key)
            if isinstance(text, str) and not text.strip():
                yield tree.problem("C032", (*path, key), f"{key} is empty", "write a sentence, or leave the key out")
            elif isinstance(text, str) and len(text) > MAX_TEXT:
                message = f"{key} has {len(text)} characters"
                yield tree.problem("C032", (*path, key), message, f"allowed: at most {MAX_TEXT}")


def _critique_and_revise(tree: Tree, path: Path, body: dict[str, Any]) -> Iterator[Problem]:
    for present, other in (("critique", "revise"), ("revise", "critique")):
        if body.get(present) is not None and body.get(other) is None:
            hint = f"add {other}, or leave out both for a principle that only compares"
            yield tree.problem("C033", (*path, present), f"{present} without {other}", hint, key=True)


def _serves(tree: Tree, path: Path, body: dict[str, Any], objectives: list[str]) -> Iterator[Problem]:
    shares = _mapping(body.get("serves"))
    for name in shares:
        if name not in objectives:
            message = f'the objective "{name}" is unknown'
            yield tree.problem("C022", (*path, "serves", name), message, suggestion(name, objectives), key=True)
    if isinstance(body.get("serves"), dict) and all(_is_zero(share) for share in shares.values()):
        hint = f"give one of {quoted(objectives)} a share above 0"
        yield tree.problem("C024", (*path, "serves"), "the principle serves no objective", hint)


def _objectives(tree: Tree, objectives: dict[str, Any], principles: list[dict[str, Any]]) -> Iterator[Problem]:
    served = {
        name
        for body in principles
        if _is_positive(body.get("weight", 1))
        for name, share in _mapping(body.get("serves")).items()
        if _is_positive(share)
    }
    for name in objectives:
        if name not in served:
            message = f'no principle with a weight above 0 serves "{name}"'
            yield tree.problem("C023", ("objectives", name), message, "add one, or remove the objective", key=True)
    if objectives and all(_is_zero(_mapping(body).get("default_weight", 1)) for body in objectives.values()):
        hint = "give at least one objective a weight above 0"
        yield tree.problem("C024", ("objectives",), "every default_weight is 0", hint, key=True)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value > 0


def _is_zero(value: Any) -> bool:
    return _is_number(value) and value == 0
