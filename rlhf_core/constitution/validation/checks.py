"""What a well-formed constitution must also mean. Each check reads raw data, so that one mistake hides no other."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any

from rlhf_core.constitution.extends.merge import Inherited
from rlhf_core.constitution.extends.semver import parse_version
from rlhf_core.constitution.parsing.tree import Path, Tree, mapping, rows
from rlhf_core.constitution.validation.principle_checks import check_principle
from rlhf_core.constitution.validation.problems import Problem, quoted, shown
from rlhf_core.errors import suggestion

ID = r"[a-z0-9]+(-[a-z0-9]+)*"
NAME = r"[a-z][a-z0-9]*([-_][a-z0-9]+)*"

Bodies = list[tuple[Path, dict[str, Any]]]


def check(tree: Tree, known: Inherited | None) -> Iterator[Problem]:
    """Check ids, texts, objectives, weights and names; values of the wrong type are left to `read_form`.

    `known` is what the file inherits; None where that could not be read, and names cannot be looked up.
    """
    top = mapping(tree.data)
    principles = rows(top, "principles")
    rules = [(path, rule) for at, body in principles for path, rule in rows(body, "rules", at)]
    yield from _names(tree, [((), top), *principles, *rules])
    yield from _versions(tree, top)
    yield from _clamp(tree, mapping(mapping(top.get("defaults")).get("compare")).get("clamp"))
    yield from _repeated_ids(tree, principles, "principle")
    for path, body in principles:
        yield from _repeated_ids(tree, rows(body, "rules", path), "rule")
        yield from check_principle(tree, path, body)
        yield from _no_share(tree, path, body, list(mapping(top.get("objectives"))))
    if known is not None:
        yield from _present(tree, top, known)
        yield from _disabled(tree, top, known)
        yield from _priority(tree, top, principles, known)
        yield from _serves(tree, principles, {**known.objectives, **mapping(top.get("objectives"))})
        yield from _objectives(tree, top, principles, known)


def _names(tree: Tree, bodies: Bodies) -> Iterator[Problem]:
    hint = "lower-case words joined by hyphens, as in leave-a-next-step"
    for path, body in bodies:
        name = body.get("id")
        if isinstance(name, str) and not re.fullmatch(ID, name):
            yield tree.problem("C021", (*path, "id"), f"the id {shown(name)} is not allowed", hint)
    for name in mapping(mapping(tree.data).get("objectives")):
        if not re.fullmatch(NAME, name):
            message = f"the objective name {shown(name)} is not allowed"
            yield tree.problem("C021", ("objectives", name), message, "a lower-case word, as in helpful", key=True)


def _versions(tree: Tree, top: dict[str, Any]) -> Iterator[Problem]:
    for path, body in [((), top), *rows(top, "changelog")]:
        version = body.get("version")
        if isinstance(version, str) and parse_version(version) is None:
            message = f"the version {shown(version)} is not semantic"
            yield tree.problem("C014", (*path, "version"), message, "write it as in 1.0.0")


def _clamp(tree: Tree, bounds: object) -> Iterator[Problem]:
    if not (isinstance(bounds, list) and all(map(_is_number, bounds))):
        return
    uneven = all(0 <= bound <= 1 for bound in bounds) and not math.isclose(sum(bounds), 1)
    if len(bounds) != 2 or not bounds[0] < bounds[1] or uneven:
        hint = "write a lower and an upper bound that treat both replies alike, as in [0.4, 0.6]"
        yield tree.problem("C024", ("defaults", "compare", "clamp"), f"clamp has the bounds {bounds}", hint)


def _repeated_ids(tree: Tree, bodies: Bodies, what: str) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for path, body in bodies:
        name = body.get("id")
        if not isinstance(name, str):
            continue
        line = tree.values[(*path, "id")].line
        if name in first:
            message = f'the {what} id "{name}" is used on lines {first[name]} and {line}'
            yield tree.problem("C020", (*path, "id"), message, f"give each {what} its own id")
        first.setdefault(name, line)


def _no_share(tree: Tree, path: Path, body: dict[str, Any], objectives: list[str]) -> Iterator[Problem]:
    if isinstance(body.get("serves"), dict) and all(map(_is_zero, body["serves"].values())):
        hint = (
            f"give one of {quoted(objectives)} a share above 0" if objectives else "give an objective a share above 0"
        )
        yield tree.problem("C024", (*path, "serves"), "the principle serves no objective", hint)


def _present(tree: Tree, top: dict[str, Any], known: Inherited) -> Iterator[Problem]:
    """Objectives and principles may be left out only where some are inherited."""
    for key, inherited in (("objectives", known.objectives), ("principles", known.principles)):
        if key not in top and not inherited and isinstance(tree.data, dict):
            yield tree.problem("C013", (), f'the key "{key}" is missing', f"add {key}: ...")
        elif top.get(key) in ({}, []) and not inherited:
            yield tree.problem("C013", (key,), f"{key} is empty", "it needs at least one entry")


def _disabled(tree: Tree, top: dict[str, Any], known: Inherited) -> Iterator[Problem]:
    for index, entry in enumerate(_words(top.get("disable"))):
        if not known.disabled(entry.strip()):
            names = [f"{known.origins[name]}/{name}" for name in known.principles]
            hint = suggestion(entry, names) if names else "the file extends nothing; take out what you do not want"
            message = f"no inherited principle is called {shown(entry)}"
            yield tree.problem("C041", ("disable", index), message, hint)


def _priority(tree: Tree, top: dict[str, Any], principles: Bodies, known: Inherited) -> Iterator[Problem]:
    names = _left(top, known) | {str(body.get("id")): body for _, body in principles}
    seen: set[str] = set()
    for index, entry in enumerate(word.strip() for word in _words(top.get("priority"))):
        if entry not in names:
            message = f"the principle {shown(entry)} is unknown"
            yield tree.problem("C041", ("priority", index), message, suggestion(entry, list(names)))
        elif entry in seen:
            message = f"the principle {shown(entry)} is named twice"
            yield tree.problem("C041", ("priority", index), message, "its first place counts")
        seen.add(entry)


def _serves(tree: Tree, principles: Bodies, objectives: dict[str, Any]) -> Iterator[Problem]:
    for path, body in principles:
        for name in mapping(body.get("serves")):
            if name not in objectives:
                message = f"the objective {shown(name)} is unknown"
                hint = suggestion(name, list(objectives))
                yield tree.problem("C022", (*path, "serves", name), message, hint, key=True)


def _objectives(tree: Tree, top: dict[str, Any], principles: Bodies, known: Inherited) -> Iterator[Problem]:
    """Every objective has a principle, and one of them a weight; of inherited principles those that are left count."""
    bodies = (_left(top, known) | {str(path): body for path, body in principles}).values()
    served = {
        name
        for body in bodies
        if _is_positive(body.get("weight", 1))
        for name, share in mapping(body.get("serves")).items()
        if _is_positive(share)
    }
    own = mapping(top.get("objectives"))
    weights = {name: objective.default_weight for name, objective in known.objectives.items()}
    weights |= {name: mapping(body).get("default_weight", 1) for name, body in own.items()}
    for name in weights:
        if name not in served:
            message = f"no principle with a weight above 0 serves {shown(name)}"
            yield tree.problem("C023", ("objectives", name), message, "add one, or remove the objective", key=True)
    if weights and all(map(_is_zero, weights.values())):
        hint = "give at least one objective a weight above 0"
        yield tree.problem("C024", ("objectives",), "every default_weight is 0", hint, key=True)


def _left(top: dict[str, Any], known: Inherited) -> dict[str, dict[str, Any]]:
    """The inherited principles that are neither disabled nor written anew."""
    own = {body.get("id") for _, body in rows(top, "principles") if isinstance(body.get("id"), str)}
    left = known.without([entry.strip() for entry in _words(top.get("disable"))])
    return {p.id: {"weight": p.weight, "serves": p.serves} for p in left if p.id not in own}


def _words(value: object) -> list[str]:
    return value if isinstance(value, list) and all(isinstance(entry, str) for entry in value) else []


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_positive(value: Any) -> bool:
    return _is_number(value) and math.isfinite(value) and value > 0


def _is_zero(value: Any) -> bool:
    return _is_number(value) and value == 0
