"""The form of a constitution file: which keys there are and what type each has."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from rlhf_core.constitution.principle import MAX_WEIGHT, Principle, Weight
from rlhf_core.constitution.problems import Problem, shown, suggestion
from rlhf_core.constitution.tree import Path, Tree

SCHEMA = "constitution/v1"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, str_strip_whitespace=True)


class ObjectiveForm(_Form):
    default_weight: Weight = 1.0
    description: str = ""


class ChangeForm(_Form):
    version: str
    date: str = ""
    note: str = ""


class ConstitutionForm(_Form):
    """The file as it is written; the principles are those of the constitution itself."""

    schema_: Literal["constitution/v1"] = Field(alias="schema")
    id: str
    version: str
    title: str
    objectives: dict[str, ObjectiveForm] = Field(min_length=1)
    principles: list[Principle] = Field(min_length=1)
    changelog: list[ChangeForm] = []


_FORMS: dict[object, type[BaseModel]] = {
    "objectives": ObjectiveForm,
    "principles": Principle,
    "changelog": ChangeForm,
}
_WANTED = {
    "string_type": "text",
    "string_unicode": "text without lone surrogates",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
}


def read_form(tree: Tree) -> ConstitutionForm | list[Problem]:
    """The form of this tree, or its unknown and missing keys, wrong types and numbers out of range."""
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
            yield tree.problem("C013", path[:-1], f'the key "{path[-1]}" is missing', f"add {path[-1]}: ...")
        elif kind == "literal_error":
            yield tree.problem("C012", path, f"schema is {shown(value)}", f"this version reads {SCHEMA}")
        elif kind == "too_short":
            yield tree.problem("C013", path, f"{name} is empty", "it needs at least one entry")
        elif kind in ("greater_than_equal", "less_than_equal", "finite_number"):
            yield tree.problem("C024", path, f"{name} is {value}", f"allowed: a number from 0 to {MAX_WEIGHT:.0f}")
        elif kind != "value_error":  # a critique without a revision: C033 says so even where other keys are wrong
            hint = "put it in quotes" if kind == "string_type" and isinstance(value, bool | int | float) else ""
            wanted = _WANTED.get(kind, error["msg"])
            yield tree.problem("C011", path, f"{name} is {shown(value)}, not {wanted}", hint)


def _known_keys(path: Path) -> list[str]:
    form = ConstitutionForm if len(path) == 1 else _FORMS[path[0]]
    return [field.alias or name for name, field in form.model_fields.items()]
