"""What the pages of docs/ show: links, fenced blocks, commands and settings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel

from tests.docs.settings import ROOT, below

DOCS = ROOT / "docs"
PAGES = sorted(page.name for page in DOCS.glob("*.md"))
_FENCE = re.compile(r"^```(\S*) *(.*?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block; `about` is what follows the language, as in ```yaml constitution."""

    language: str
    about: str
    text: str


def text_of(page: str) -> str:
    return (DOCS / page).read_text()


def blocks(text: str, language: str) -> list[Block]:
    return [found for found in map(Block._make, _FENCE.findall(text)) if found.language == language]


def prose(text: str) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", text)


def links(text: str) -> list[str]:
    """Where relative links lead."""
    return [link for link in _LINK.findall(prose(text)) if not re.match(r"[a-z]+:", link)]


def anchors(text: str) -> set[str]:
    """The headings of a page as its links name them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in _HEADING.findall(prose(text))}


def dead(link: str, page: Path) -> bool:
    """Whether a relative link of this page leads nowhere."""
    path, _, anchor = link.partition("#")
    target = (page.parent / path) if path else page
    if not target.exists() or not target.resolve().is_relative_to(ROOT):
        return True
    return bool(anchor) and (target.suffix != ".md" or anchor not in anchors(target.read_text()))


def commands(shell: str, name: str) -> Iterator[list[str]]:
    """The words after each call of this command, pipes and substitutions included."""
    for line in shell.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if not re.fullmatch(r"[();<>|&]+", word):
                words.append(word)
                continue
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if words and words[0].rpartition("/")[2] == name:
                yield words[1:]
            words = []


def settings(text: str, sections: Sequence[str]) -> list[str]:
    """Dotted names that begin with one of the sections; the name of a page is none."""
    return re.findall(rf"(?<![\w./-])((?:{'|'.join(sections)})(?!\.md\b)(?:\.\w+)+)", text)


def is_setting(name: str, schema: type[BaseModel]) -> bool:
    """Whether a configuration has a value or a section of this dotted name; below a mapping anything may stand."""
    kind: Any = schema
    for key in name.split("."):
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return str(kind).startswith("dict")
        if key not in kind.model_fields:
            return False
        kind = below(kind, key) or kind.model_fields[key].annotation
    return True
