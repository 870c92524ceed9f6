"""A run's configuration from its sources: default < YAML < environment < `-s` < `--weights`, with located errors."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.parsing.tree import Tree, read_tree
from rlhf_core.constitution.validation.problems import Problem
from rlhf_core.constitution.weights import parse_weights
from rlhf_core.errors import InvalidInput
from services.server.config import ServerConfig

ENV_PREFIX = "CHARTER__"
SERVER_ENV_PREFIX = "CHARTER_SERVER__"
KeyPath = tuple[str, ...]
Schema = TypeVar("Schema", bound=BaseModel)


class InvalidConfig(InvalidInput):
    """Everything that is wrong with a configuration, one line each in `problems`."""

    def __init__(self, problems: Sequence[str]):
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Setting(NamedTuple):
    """One value of the configuration and where it was written."""

    path: KeyPath
    value: Any
    origin: str


def load_config(
    file: str | None = None,
    overrides: Sequence[str] = (),
    weights: str = "",
    environ: Mapping[str, str] = os.environ,
) -> RunConfig:
    """Return the configuration that the sources give together; raises InvalidConfig with every problem found."""
    settings = [
        *(yaml_settings(Path(file)) if file else ()),
        *environment_settings(environ),
        *(override_setting(text) for text in overrides),
    ]
    if weights:
        settings = [s for s in settings if s.path[0] != "weights"]
        named = parse_weights(weights)
        settings.extend(Setting(("weights", name), value, f"--weights {weights}") for name, value in named.items())
    return validate(settings, RunConfig, file or "")


def load_server_config(file: str | None = None, environ: Mapping[str, str] = os.environ) -> ServerConfig:
    """Return the configuration of a server process; raises InvalidConfig with every problem found."""
    written = yaml_settings(Path(file), ServerConfig) if file else ()
    return validate([*written, *environment_settings(environ, SERVER_ENV_PREFIX)], ServerConfig, file or "")


def validate(settings: Sequence[Setting], schema: type[Schema], file: str) -> Schema:
    """Merge the settings, the later over the earlier, and check the whole.

    `file` is named where a mistake has no line, as where a key is missing; empty where there is no file.
    """
    tree: dict[str, Any] = {}
    origins: dict[KeyPath, str] = {}
    for setting in settings:
        _put(tree, setting)
        origins[setting.path] = setting.origin
    try:
        return schema.model_validate(tree)
    except ValidationError as error:
        problems = {_problem(detail, origins, schema, file) for detail in error.errors()}
        raise InvalidConfig(sorted(problems, key=_in_file_order)) from None


def yaml_settings(path: Path, schema: type[BaseModel] = RunConfig) -> list[Setting]:
    """Read the settings of a YAML file, each with `file:line:column` of its key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{path}: cannot read the configuration: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidInput(f"{path}: not a text file in UTF-8") from None
    tree = read_tree(text, str(path))
    if tree.problems:
        raise InvalidConfig([f"{path}:{fault.line}:{fault.column} {_yaml_fault(fault)}" for fault in tree.problems])
    if tree.data is None:
        return []
    if not isinstance(tree.data, dict):
        raise InvalidConfig([f"{path}:1:1 a configuration is a mapping of keys to values"])
    return list(_walk(tree, tree.data, (), schema))


def environment_settings(environ: Mapping[str, str], prefix: str = ENV_PREFIX) -> list[Setting]:
    """Read settings of the environment: `CHARTER__PPO__STEPS=3` is `ppo.steps: 3`."""
    names = sorted(name for name in environ if name.startswith(prefix))
    return [
        Setting(tuple(name.removeprefix(prefix).lower().split("__")), _scalar(environ[name], name), name)
        for name in names
    ]


def override_setting(text: str) -> Setting:
    """Read `ppo.steps=3`, as `-s` takes it; the value is a YAML scalar."""
    key, equals, value = text.partition("=")
    path = tuple(key.strip().split("."))
    if not equals or not all(path):
        raise InvalidInput(f"-s {text}: write it as path.to.key=value, for example -s ppo.steps=20")
    return Setting(path, _scalar(value, f"-s {text}"), f"-s {text}")


def spread(setting: Setting) -> Iterator[Setting]:
    """Yield a setting for each value of a section, so that one laid over another replaces no other key."""
    if not isinstance(setting.value, dict) or not setting.value:
        yield setting
        return
    for key, value in setting.value.items():
        yield from spread(Setting((*setting.path, str(key)), value, setting.origin))


def nearest(word: str, allowed: Sequence[str]) -> str:
    """Write `, did you mean 'x'?`, or the allowed words when none is near."""
    close = difflib.get_close_matches(word, allowed, n=1)
    return f", did you mean '{close[0]}'?" if close else f"; allowed: {', '.join(allowed)}"


def _scalar(text: str, origin: str) -> Any:
    tree = read_tree(text, origin)
    if tree.problems:
        raise InvalidInput(f"{origin}: {_yaml_fault(tree.problems[0])}")
    return tree.data


def _yaml_fault(problem: Problem) -> str:
    return f"not valid YAML: {problem.message}" + (f"; {problem.hint}" if problem.hint else "")


def _walk(tree: Tree, section: dict[str, Any], above: KeyPath, schema: type[BaseModel]) -> Iterator[Setting]:
    for key, value in section.items():
        path = (*above, key)
        origin = f"{tree.source}:{tree.keys[path].line}:{tree.keys[path].column}"
        if isinstance(value, dict):
            yield Setting(path, {}, origin)
            yield from _walk(tree, value, path, schema)
        elif value is None and _model_at(schema, path) is not None:
            yield Setting(path, {}, origin)
        else:
            yield Setting(path, value, origin)


def _put(tree: dict[str, Any], setting: Setting) -> None:
    """Set one value; an empty mapping from YAML only makes sure that the section is there."""
    *above, key = setting.path
    for part in above:
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            below = tree[part] = {}
        tree = below
    if setting.value == {} and isinstance(tree.get(key), dict):
        return
    tree[key] = setting.value


def _model_at(schema: type[BaseModel], path: KeyPath) -> type[BaseModel] | None:
    """The class of the section at `path`, None where there is a plain value or nothing."""
    kind: Any = schema
    for part in path:
        if part.isdigit():
            # An entry of a list of sections.
            kind = next(iter(get_args(kind)), None)
            continue
        field = kind.model_fields.get(part) if _is_section(kind) else None
        kind = field.annotation if field else None
    return kind if _is_section(kind) else None


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _in_file_order(problem: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d{1,18})", problem)]


def _problem(detail: ErrorDetails, origins: Mapping[KeyPath, str], schema: type[BaseModel], file: str) -> str:
    """One line: where it was written, the dotted path, what is wrong, what is allowed."""
    # pydantic adds the name of each member of a union, such as literal['pipeline'], which is no key of the file.
    written = {part for at in origins for part in at}
    path = tuple(str(part) for part in detail["loc"] if str(part) in written or "[" not in str(part))
    origin = next((origins[path[:n]] for n in range(len(path), 0, -1) if path[:n] in origins), "")
    below = [at for at in origins if at[: len(path)] == path]
    named = [at for at in below if f"'{at[-1]}'" in detail["msg"] or (at[1:] and ".".join(at) in detail["msg"])]
    if named:
        origin = origins[named[0]]
    elif not origin:
        # What is wrong with the whole stands at no key of it.
        origin = origins[below[0]] if path and below else file
    return ": ".join(filter(None, (f"{origin} {'.'.join(path)}".strip(), _reason(detail, path, schema))))


def _reason(detail: ErrorDetails, path: KeyPath, schema: type[BaseModel]) -> str:
    kind, value = detail["type"], detail["input"]
    if kind == "extra_forbidden":
        model = _model_at(schema, path[:-1])
        return f"unknown key '{path[-1]}'" + nearest(path[-1], list(model.model_fields) if model else [])
    if kind == "missing":
        return "it is missing, and has no default"
    if kind == "value_error":
        return detail["msg"].removeprefix("Value error, ")
    if kind == "model_type":
        model = _model_at(schema, path)
        return f"{value!r} is not a section with keys" + nearest("", list(model.model_fields) if model else [])
    if kind == "literal_error":
        # An entry of a list has a number behind the list's own key.
        own = path[:-1] if path[-1].isdigit() else path
        field = (_model_at(schema, own[:-1]) or schema).model_fields[own[-1]]
        kinds = (field.annotation, *get_args(field.annotation))
        allowed = [str(word) for kind in kinds for word in get_args(kind) if word is not ...]
        words = list(dict.fromkeys(word for word in allowed if not word.startswith(("typing.", "<class"))))
        return f"'{value}' is not allowed" + nearest(str(value), words)
    return f"{value!r} is not allowed: {detail['msg'][0].lower()}{detail['msg'][1:]}"
