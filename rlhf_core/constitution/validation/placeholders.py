"""Names in braces that a principle's text may hold, and what stands there when a model is asked.

They are optional: the conversation and the reply are added after a text that names neither, so "Does the reply make
fumes?" is complete. A text that does say where they stand must name the reply, or the model would never see it.
A brace that is meant as one is written twice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

ALLOWED: Mapping[str, tuple[str, ...]] = {
    "critique": ("prompt", "response"),
    "revise": ("prompt", "response", "critique"),
    "compare": ("prompt", "response_a", "response_b"),
}
"""The placeholders that each text may use."""
NEEDED: Mapping[str, tuple[str, ...]] = {
    "critique": ("response",),
    "revise": (),
    "compare": ("response_a", "response_b"),
}
"""Those that it must use if it uses any; a revision is asked where the reply and its critique stand already."""

_TOKEN = re.compile(r"\{\{|\}\}|\{(\w*)\}|[{}]")


def placeholders(text: str) -> tuple[str, ...]:
    """Return the names in braces, each once, in the order of the text."""
    return tuple(dict.fromkeys(found[1] for found in _TOKEN.finditer(text) if found[1] is not None))


def has_lone_brace(text: str) -> bool:
    """Tell whether a brace is neither doubled nor part of a placeholder."""
    return any(found[0] in ("{", "}") for found in _TOKEN.finditer(text))


def render(text: str, values: Mapping[str, str]) -> str:
    """Return the text with each value inserted once, never to be read again, and doubled braces made single.

    A name without a value stays as it is.
    """
    return _TOKEN.sub(lambda found: values.get(found[1], found[0]) if found[1] is not None else found[0][0], text)
