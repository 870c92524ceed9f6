"""The form of a constitution file: which keys there are and what type each has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from rlhf_core.constitution.constitution import Change, CompareDefaults, CritiqueDefaults, Defaults
from rlhf_core.constitution.parsing.tree import Path, Tree
from rlhf_core.constitution.principle import (
    MAX_WEIGHT,
    AppliesWhen,
    Example,
    Frozen,
    Many,
    Principle,
    PrincipleTest,
    Reference,
    Rule,
    Text,
    Weight,
)
from rlhf_core.constitution.validation.problems import Problem, shown
from rlhf_core.errors import suggestion

SCHEMA = "constitution/v1"


class ObjectiveForm(Frozen):
    """Something to be good at; it has one reward model, and one weight in every run."""

    default_weight: Weight = 1.0
    """Weight in a run that names none."""
    description: str = ""


class ConstitutionForm(Frozen):
    """A constitution as it is written: what it must be good at, and the principles that say how."""

    schema_: Annotated[Literal["constitution/v1"], Field(alias="schema")]
    """The version of this schema."""
    id: str
    """Lower-case words joined by hyphens; stable for ever."""
    version: str
    """Semantic, as in 1.0.0; a released version is never changed."""
    title: Text
    extends: Many[str] = ()
    """Constitutions to build on, as in builtin:base-safety@^1 or ../base.yaml; of two principles, the later wins."""
    objectives: dict[str, ObjectiveForm] = Field(default_factory=dict)
    """Name -> objective; those of the extended constitutions are there already."""
    defaults: Defaults = Defaults()
    priority: Many[str] = ()
    """Principle ids, from the one that wins a conflict down: where two principles of an objective prefer different
    replies of a pair, the later one's votes on it do not count. Those that are not listed come after all that are."""
    disable: Many[str] = ()
    """Inherited principles to leave out, as in base-safety/keep-private-things-private."""
    principles: Many[Principle] = ()
    changelog: Many[Change] = ()


_FORMS: dict[tuple[str, ...], type[BaseModel]] = {
    (): ConstitutionForm,
    ("objectives",): ObjectiveForm,
    ("defaults",): Defaults,
    ("defaults", "critique"): CritiqueDefaults,
    ("defaults", "compare"): CompareDefaults,
    ("principles",): Principle,
    ("principles", "applies_when"): AppliesWhen,
    ("principles", "rules"): Rule,
    ("principles", "rules", "applies_when"): AppliesWhen,
    ("principles", "examples"): Example,
    ("principles", "tests"): PrincipleTest,
    ("principles", "references"): Reference,
    ("changelog",): Change,
}
_WANTED = {
    "string_type": "text",
    "string_unicode": "text without lone surrogates",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
_RANGES = {"min_margin": "0 to 1", "clamp": "0 to 1", "rounds": "1 to 16", "principles_per_label": "1 to 1000"}
_LEFT_TO_CHECKS = ("value_error", "too_short", "too_long")
"""What several values must be together: the checks say so even where others are wrong."""
_OUT_OF_RANGE = ("greater_than_equal", "less_than_equal", "finite_number")


def read_form(tree: Tree) -> ConstitutionForm | list[Problem]:
    """Read the form of this tree, or find its unknown and missing keys, wrong types and numbers out of range."""
    try:
        return ConstitutionForm.model_validate(tree.data, strict=True)
    except ValidationError as error:
        return list(_problems(tree, error.errors(include_url=False)))


def _problems(tree: Tree, errors: list[ErrorDetails]) -> Iterator[Problem]:
    for error in errors:
        path: Path = tuple(error["loc"])
        name = ".".join(map(str, path)) or "the file"
        kind, value = error["type"], error["input"]
        if kind == "extra_forbidden":
            hint = suggestion(str(path[-1]), _known_keys(path))
            yield tree.problem("C010", path, f'unknown key "{path[-1]}"', hint, key=True)
        elif kind == "missing":
            code = "C050" if "examples" in path or "tests" in path else "C013"
            yield tree.problem(code, path[:-1], f'the key "{path[-1]}" is missing', f"add {path[-1]}: ...")
        elif kind == "literal_error":
            yield _not_a_choice(tree, path, name, value)
        elif kind == "string_too_short":
            yield tree.problem("C032", path, f"{name} is empty", "write something, or leave the key out")
        elif kind in _OUT_OF_RANGE:
            allowed = next((_RANGES[str(part)] for part in reversed(path) if part in _RANGES), f"0 to {MAX_WEIGHT:.0f}")
            yield tree.problem("C024", path, f"{name} is {value}", f"allowed: a number from {allowed}")
        elif kind not in _LEFT_TO_CHECKS:
            hint = "put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float) else ""
            wanted = _WANTED.get(kind, error["msg"])
            yield tree.problem("C011", path, f"{name} is {shown(value)}, not {wanted}", hint)


def _not_a_choice(tree: Tree, path: Path, name: str, value: object) -> Problem:
    if path == ("schema",):
        return tree.problem("C012", path, f"schema is {shown(value)}", f"this version reads {SCHEMA}")
    choices = _choices(_model(path).model_fields[str(path[-1])].annotation)
    hint = suggestion(value, choices) if isinstance(value, str) else f"known: {', '.join(choices)}"
    if isinstance(value, bool):
        hint = f"put it in quotes; {hint}"
    return tree.problem("C011", path, f"{name} cannot be {shown(value)}", hint)


def _choices(annotation: Any) -> list[str]:
    """The words of a Literal, of an optional one too."""
    inner = [choice for part in getattr(annotation, "__args__", ()) for choice in getattr(part, "__args__", (part,))]
    return [choice for choice in inner if isinstance(choice, str)]


def _model(path: Path) -> type[BaseModel]:
    """The form that the last key of this path belongs to."""
    names = tuple(part for part in path[:-1] if isinstance(part, str))
    return _FORMS[names[:1] if names[:1] == ("objectives",) else names]


def _known_keys(path: Path) -> list[str]:
    return [field.alias or name for name, field in _model(path).model_fields.items()]
