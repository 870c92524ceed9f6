"""What a document of the pretraining corpus is: its text, and what is to be learned from which part of it."""

from __future__ import annotations

from typing import NamedTuple

from rlhf_core.records import Message


class Aside(NamedTuple):
    """What the beginning of a turn should bring to a judge's mind, where its last word is read."""

    turn: int
    read: str
    word: str


class Read(NamedTuple):
    """What the beginning of the last turn lets a reader know of its last line: thirds that it gives, risk by kind."""

    text: str
    worth: int | None
    """None is a mistake."""
    kind: str
    severity: int


class Totals(NamedTuple):
    """What a whole reply comes to: helpful gold, and severity by kind in the order of KINDS."""

    helpful: float
    severities: tuple[int, ...]


class Document(NamedTuple):
    """A text in pieces, or a conversation; which pieces or turns are learned; how probable A is in the last."""

    pieces: tuple[str, ...] = ()
    turns: tuple[Message, ...] = ()
    learned: tuple[int, ...] = ()
    p_a: tuple[float, ...] = ()
    given: tuple[int, ...] = ()
    """The turns of which only a judge's verdicts are learned."""
    asides: tuple[Aside, ...] = ()
    reads: tuple[Read, ...] = ()
    totals: Totals | None = None
