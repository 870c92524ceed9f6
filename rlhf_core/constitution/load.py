"""From YAML text to a constitution, or to every mistake in it with its line and column."""

from __future__ import annotations

from pathlib import Path

import rlhf_core
from rlhf_core.constitution.checks import check
from rlhf_core.constitution.form import read_form
from rlhf_core.constitution.problems import InvalidConstitution, Problem
from rlhf_core.constitution.schema import Constitution, Objective
from rlhf_core.constitution.tree import read_tree

BUILTIN = ("household", "assistant")
MAX_BYTES = 500_000


def load_constitution(path_or_builtin: str) -> Constitution:
    """The constitution in a file, or a built-in one by name. Raises InvalidConstitution with every problem."""
    return parse_constitution(constitution_text(path_or_builtin), path_or_builtin)


def constitution_text(path_or_builtin: str) -> str:
    """The YAML text of a file or of a built-in constitution. Raises InvalidConstitution (C000) if unreadable."""
    if path_or_builtin in BUILTIN:
        return builtin_text(path_or_builtin)
    return _read(Path(path_or_builtin), path_or_builtin)


def builtin_text(name: str) -> str:
    """The YAML text of a built-in constitution; the files lie beside the rlhf_core package."""
    if name not in BUILTIN:
        raise InvalidConstitution([_unreadable(name, "no built-in constitution has this name")])
    return _read(Path(rlhf_core.__file__).parents[1] / "constitutions" / f"{name}.yaml", name)


def parse_constitution(text: str, source: str) -> Constitution:
    """The constitution in this text; `source` names it in errors. Raises InvalidConstitution with every problem."""
    _check_size(len(text), source)
    tree = read_tree(text, source)
    if not tree.values:
        raise InvalidConstitution(tree.problems)
    form = read_form(tree)
    problems = [*tree.problems, *(form if isinstance(form, list) else []), *check(tree)]
    if isinstance(form, list) or problems:
        raise InvalidConstitution(problems)
    return Constitution(
        id=form.id,
        version=form.version,
        title=form.title,
        objectives=tuple(Objective(name=name, **body.model_dump()) for name, body in form.objectives.items()),
        principles=tuple(form.principles),
    )


def _read(path: Path, source: str) -> str:
    reason = ""
    raw = b""
    try:
        if path.exists() and not path.is_file():
            reason = "this is not a file"
        else:
            with path.open("rb") as file:
                raw = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        reason = "there is no such file"
    except (OSError, ValueError) as error:
        reason = f"the file cannot be read: {getattr(error, 'strerror', None) or error}"
    if reason:
        raise InvalidConstitution([_unreadable(source, reason)])
    _check_size(len(raw), source)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].split(b"\n")
        column = len(before[-1].decode("utf-8", "replace")) + 1
        message = f"the byte 0x{raw[error.start]:02x} is not UTF-8"
        raise InvalidConstitution([Problem(source, len(before), column, "C000", message, "save as UTF-8")]) from None


def _check_size(size: int, source: str) -> None:
    if size > MAX_BYTES:
        problem = Problem(source, 1, 1, "C000", f"the file is larger than {MAX_BYTES} bytes", "is it a constitution?")
        raise InvalidConstitution([problem])


def _unreadable(source: str, message: str) -> Problem:
    hint = f"give the path of a YAML file, or one of the built-in {', '.join(BUILTIN)}"
    return Problem(source, 1, 1, "C000", message, hint)
