"""A resolved constitution as one YAML text that needs no other file."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.parsing.file_schema import SCHEMA
from rlhf_core.constitution.sources import check_size


def flat_yaml(constitution: Constitution) -> str:
    """Return YAML that `parse_constitution` reads back with the same hash.

    Raises InvalidConstitution if it is too large.
    """
    said = constitution.model_dump(
        mode="json", exclude_defaults=True, exclude={"objectives", "extends", "disable", "inherited", "files"}
    )
    objectives = {o.name: o.model_dump(exclude={"name"}) for o in constitution.objectives}
    head = {"schema": SCHEMA, "id": said.pop("id"), "version": said.pop("version"), "title": constitution.title}
    origin = ", ".join(f"{json.dumps(file.source)} {file.hash}" for file in constitution.files)
    lines = [f"# Resolved from {origin}", *_lines(head | {"objectives": objectives} | said)]
    text = "\n".join(lines) + "\n"
    check_size(len(text.encode()), constitution.id)
    return text


def _lines(value: object) -> Iterator[str]:
    """Block style: a mapping's keys under one another, a list's entries after dashes."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            nested = isinstance(inner, dict | list) and inner
            if nested:
                yield f"{_scalar(key)}:"
                yield from (f"  {line}" for line in _lines(inner))
            else:
                yield f"{_scalar(key)}: {_scalar(inner)}"
    elif isinstance(value, list) and value:
        for entry in value:
            yield from (f"{'  ' if at else '- '}{line}" for at, line in enumerate(_lines(entry)))
    else:
        yield _scalar(value)


def _scalar(value: object) -> str:
    """JSON, which YAML contains; what cannot be printed is escaped, as YAML allows no such letters."""
    if isinstance(value, str) and value.replace("_", "").isalpha() and value.isascii() and value.islower():
        return value if value not in ("null", "true", "false") else f'"{value}"'
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else f"\\U{ord(letter):08x}" for letter in text)
