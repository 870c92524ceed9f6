"""A pair of replies as a person sees it: on which side each stands, and what differs between them."""

from __future__ import annotations

import difflib
import re
import unicodedata
from typing import NamedTuple

from charter.v1 import preference_pb2

from rlhf_core.records.base import Record
from rlhf_core.records.samples import Prompt
from services.wire.samples import comparison_from_message

ALIKE_FROM = 0.3
"""Share of words in common from which what differs is marked: in texts that have less it would be everything."""
MAX_WORDS = 1000
"""Of a reply; in longer ones nothing is marked, as that takes the square of the time."""
SHOWN = "\n\t\u200c\u200d"
"""Signs that count as unprintable and belong to texts: joiners make emoji, and Persian words."""


class Piece(NamedTuple):
    """Some words of a reply, and whether the other reply has others in this place."""

    text: str
    differs: bool


class Turn(NamedTuple):
    role: str
    text: str


class Pair(Record):
    """One question, without a word on who wrote what."""

    id: str
    """Of the comparison."""
    turns: tuple[Turn, ...]
    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    swapped: bool
    """The comparison's sample b stands on the left."""


def pair_of(shown: preference_pb2.ShownComparison) -> Pair:
    """Return the pair as the service says that this person sees it."""
    comparison = comparison_from_message(shown.comparison)
    seen = comparison.swap() if shown.swapped else comparison
    left, right = compared(visible(seen.a.response), visible(seen.b.response))
    return Pair(
        id=comparison.id,
        turns=turns_of(comparison.prompt),
        left=tuple(left),
        right=tuple(right),
        swapped=shown.swapped,
    )


def turns_of(prompt: Prompt) -> tuple[Turn, ...]:
    return tuple(Turn(turn.role, visible(turn.content)) for turn in prompt.messages)


def visible(text: str) -> str:
    """Spell out the text's control and direction characters, so that no reply can rewrite the screen."""
    return "".join(c if _is_shown(c) else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    return character.isprintable() or character in SHOWN or unicodedata.category(character) == "Zs"


def compared(a: str, b: str) -> tuple[list[Piece], list[Piece]]:
    """Cut both texts in pieces, of which those differ that the other one does not have in this place."""
    # A space goes with its word: alone it would be found all over the other text, which takes the cube of time.
    words = [re.findall(r"\S+\s*|^\s+", text) for text in (a, b)]
    matcher = difflib.SequenceMatcher(None, *words, autojunk=False)
    pieces: tuple[list[Piece], list[Piece]] = [], []
    if max(map(len, words)) > MAX_WORDS or matcher.quick_ratio() < ALIKE_FROM:
        return [Piece(a, False)], [Piece(b, False)]
    alike = matcher.ratio() >= ALIKE_FROM
    for tag, a_from, a_to, b_from, b_to in matcher.get_opcodes():
        for found, own, start, end in zip(pieces, words, (a_from, b_from), (a_to, b_to), strict=True):
            found += _pieces("".join(own[start:end]), alike and tag != "equal")
    return pieces


def _pieces(text: str, differs: bool) -> list[Piece]:
    """The text, and behind it the space that is nobody's difference."""
    words = text.rstrip() if differs else text
    return [piece for piece in (Piece(words, differs), Piece(text[len(words) :], False)) if piece.text]
