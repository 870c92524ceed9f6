"""Texts of principles that say themselves where the reply stands, by placeholders (see `constitution.placeholders`)."""

from __future__ import annotations

import re

from rlhf_core.constitution.placeholders import placeholders, render

PLACES = {
    "prompt": "{conversation}\n\n",
    "response": "Reply:\n{response}\n\n",
    "response_a": "Reply A:\n{a}\n\n",
    "response_b": "Reply B:\n{b}\n\n",
}
"""Placeholder -> the part of a template that shows the same."""


def place(template: str, text: str, **values: str) -> tuple[str, str]:
    """The template without what the text shows itself, and the text with its placeholders filled.

    `values` are by placeholder. A text without placeholders leaves the template as it is.
    """
    used = placeholders(text)
    for name in used:
        template = template.replace(PLACES.get(name, "\0"), "")
    return template, render(text, {name: fenced(value) for name, value in values.items()})


def fenced(value: str) -> str:
    """The value as data, between lines of backticks that it cannot close by itself."""
    longest = max(map(len, re.findall("`+", value)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}\n{value}\n{fence}\n"
