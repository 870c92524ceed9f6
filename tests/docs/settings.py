"""Settings as a page and as a JSON Schema: names, types and bounds from the models, words from their annotated YAML."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from rlhf_core.config.run import RunConfig
from services.server.config import ServerConfig

ROOT = Path(__file__).parents[2]
WIDTH = 120
DIALECT = "https://json-schema.org/draft/2020-12/schema"
NAMES_MODEL = "model.base_model"
OTHER_MODEL = {"model": {"base_model": "another"}}
"""Some defaults suit the built-in model alone; with any other these hold."""

INTRO = """\
# Configuration

Made by `make docs` from the models that read it and from the comments of [`deploy/run.yaml`](../deploy/run.yaml), a
complete run with every setting at its default. [`run.schema.json`](run.schema.json) is the same as a JSON Schema: with
`# yaml-language-server: $schema=docs/run.schema.json` at the top of a YAML file an editor completes keys and marks
mistakes.

The later source wins: defaults, the YAML file, the environment (`CHARTER__PPO__STEPS=30`), `-s ppo.steps=30`,
`--weights`. Unknown keys are errors, and every mistake is told at once with its place.

Where two defaults are given, the second holds for every base model but the built-in one.

## The run
"""
SERVER_INTRO = """\
# Settings of a server

What belongs to a server process, in a YAML file of its own: [`deploy/server.yaml`](../deploy/server.yaml) has every
setting at its default (`charter serve --server FILE`). The environment (`CHARTER_SERVER__ADDRESS=...`) goes before the
file, options of `charter serve` before both. What the process computes with, `model` and `feedback`, stands in the
run's YAML.

## The process
"""


class Section(NamedTuple):
    """A mapping of settings; `path` is empty for the top."""

    path: tuple[str, ...]
    model: type[BaseModel]

    def name(self, key: str) -> str:
        return ".".join((*self.path, key))

    @property
    def values(self) -> list[str]:
        return [key for key in self.model.model_fields if below(self.model, key) is None]


def below(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section of this name, None where there is a value."""
    kind = model.model_fields[key].annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def listed(model: type[BaseModel], key: str) -> type[BaseModel] | None:
    """The section that each entry of this list is, None where it is no list of sections."""
    kinds = get_args(model.model_fields[key].annotation)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def sections(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Section]:
    """The model, then all that lie in it, in the order in which they are written."""
    yield Section(path, model)
    for key in model.model_fields:
        if inner := below(model, key):
            yield from sections(inner, (*path, key))


def comments(text: str) -> dict[str, str]:
    """Dotted path of each key of an annotated YAML -> the comment right above it."""
    found: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    said: list[str] = []
    for line in text.splitlines():
        if comment := re.match(r" *# ?(.*)", line):
            said.append(comment[1].strip())
            continue
        if key := re.match(r"( *)(\w+):", line):
            indent = len(key[1])
            above = [*(pair for pair in above if pair[0] < indent), (indent, key[2])]
            found[".".join(name for _, name in above)] = " ".join(said)
        said = []
    return found


@cache
def docstrings(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the text that stands under it in the code, that of a base class where the class has none."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is BaseModel or not issubclass(kind, BaseModel):
            continue
        body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, after in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(after, ast.Expr):
                found[field.target.id] = " ".join(str(ast.literal_eval(after.value)).split())
    return found


def words(section: Section, key: str, said: dict[str, str]) -> str:
    """What the setting does: as its YAML says it, or else as the code does."""
    return said.get(section.name(key)) or docstrings(section.model).get(key, "")


def kind_of(schema: dict[str, Any]) -> str:
    """A property of a JSON Schema in words, with what is allowed."""
    if "anyOf" in schema:
        return ", or ".join(dict.fromkeys(map(kind_of, schema["anyOf"])))
    if choices := schema.get("enum") or [schema[key] for key in ("const",) if key in schema]:
        return ", ".join(f"`{choice}`" for choice in choices)
    if "$ref" in schema:
        return "section"
    if schema["type"] == "array":
        if "prefixItems" in schema:
            return f"[{', '.join(map(kind_of, schema['prefixItems']))}]"
        kind = kind_of(schema["items"])
        return f"list of {'sections' if kind == 'section' else kind}"
    if schema["type"] == "object":
        return f"mapping of names to {kind_of(schema['additionalProperties'])}"
    named = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "true or false",
        "null": "null",
    }
    bounds = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    told = [f"{word} {shown(schema[key])}" for key, word in bounds.items() if key in schema]
    return ", ".join([named[schema["type"]], *told])


def shown(value: object) -> str:
    """A default as YAML writes it."""
    if isinstance(value, list):
        return f"[{', '.join(map(shown, value))}]"
    words = {None: "null", True: "true", False: "false", "*": '"*"'}
    if isinstance(value, str | bool | None) and value in words:
        return words[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def wrapped(text: str, indent: str = "") -> str:
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def entry(section: Section, key: str, said: dict[str, str], defaults: list[dict[str, Any]]) -> str:
    found = [shown(value_at(tree, (*section.path, key))) for tree in defaults]
    differing = found[:1] if section.name(key) == NAMES_MODEL else dict.fromkeys(found)
    default = "; ".join(f"`{text}`" for text in differing)
    kind = kind_of(section.model.model_json_schema()["properties"][key])
    return wrapped(
        f"- **`{section.name(key)}`** ({kind}; default {default}) {words(section, key, said)}", "  "
    ).rstrip()


def value_at(tree: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def page(model: type[BaseModel], yaml: str, intro: str, others: tuple[dict[str, Any], ...] = ()) -> str:
    """Every setting of a configuration, section by section; one that comes again is pointed to."""
    said = comments((ROOT / yaml).read_text())
    defaults = [model.model_validate(given).model_dump(mode="json") for given in ({}, *others)]
    seen: dict[type[BaseModel], str] = {}
    blocks = [intro.rstrip()]
    for section in sections(model):
        name = ".".join(section.path)
        if section.path:
            blocks.append(f"{'#' * min(4, len(section.path) + 1)} `{name}`")
            text = said.get(name) or inspect.cleandoc(section.model.__doc__ or "").split("\n\n")[0].replace("\n", " ")
            blocks.append(wrapped(text))
        if section.model in seen:
            blocks[-1] = f"As `{seen[section.model]}`."
            continue
        seen[section.model] = name
        if section.values:
            blocks.append("\n".join(entry(section, key, said, defaults) for key in section.values))
    return "\n\n".join(filter(None, blocks)) + "\n"


def run_page() -> str:
    return page(RunConfig, "deploy/run.yaml", INTRO, (OTHER_MODEL,))


def server_page() -> str:
    return page(ServerConfig, "deploy/server.yaml", SERVER_INTRO)


def run_schema() -> dict[str, Any]:
    """JSON Schema 2020-12 of a run's YAML, each setting with what it does; a section may be left empty."""
    said = comments((ROOT / "deploy/run.yaml").read_text())
    schema = RunConfig.model_json_schema()
    parts = {"RunConfig": schema, **schema["$defs"]}
    for section in reversed(list(sections(RunConfig))):
        for key, field in parts[section.model.__name__]["properties"].items():
            field.pop("title", None)
            if isinstance(field.get("default"), dict):
                del field["default"]
            text = words(section, key, said)
            if "$ref" in field:
                field["anyOf"] = [{"$ref": field.pop("$ref")}, {"type": "null"}]
            elif text:
                field["description"] = text
    for section in sections(RunConfig):
        for entry_model in filter(None, (listed(section.model, key) for key in section.values)):
            for key, field in parts[entry_model.__name__]["properties"].items():
                field.pop("title", None)
                if isinstance(field.get("default"), dict):
                    del field["default"]
                if (text := docstrings(entry_model).get(key)) and "$ref" not in field:
                    field["description"] = text
    return {"$schema": DIALECT, "$id": "urn:charter:run/v1", **schema, "title": "A run of Charter"}
