"""Replies as a person sees them who rates one, ranks several, or marks the faults of one."""

from __future__ import annotations

import re
from typing import NamedTuple

from charter.v1 import assessment_pb2, common_pb2

from rlhf_core.records.base import Record
from services.console.labelling_steps import DeskForm
from services.console.pairs import Turn, turns_of, visible
from services.wire.samples import prompt_from_message

LONGEST_WORD = 16
"""Characters that are marked at once; writing without spaces is cut into pieces of this size."""


class Reply(Record):
    """One reply to rate, without a word on who wrote it."""

    id: str
    turns: tuple[Turn, ...]
    text: str


class Written(NamedTuple):
    """A reply among several, by its sample."""

    sample: str
    text: str


class Replies(Record):
    """Replies to one prompt to put in order, as this person sees them."""

    id: str
    """Of the prompt."""
    turns: tuple[Turn, ...]
    replies: tuple[Written, ...]


class Word(NamedTuple):
    """A piece of a reply with the space after it, and where it stands in the reply, that space left out."""

    text: str
    start: int
    end: int


class Passage(Record):
    """One reply by its words, to be looked through for faults."""

    id: str
    turns: tuple[Turn, ...]
    words: tuple[Word, ...]


def item_of(form: DeskForm, item: assessment_pb2.AssessmentItem) -> Reply | Replies | Passage:
    """Return what the service says comes next, for the desk of a form."""
    first: common_pb2.Sample = item.samples[0]
    turns = turns_of(prompt_from_message(first.prompt))
    if form == "rankings":
        written = tuple(Written(sample.id, visible(sample.response)) for sample in item.samples)
        return Replies(id=item.id, turns=turns, replies=written)
    if form == "spans":
        return Passage(id=item.id, turns=turns, words=words_of(first.response))
    return Reply(id=item.id, turns=turns, text=visible(first.response))


def words_of(text: str) -> tuple[Word, ...]:
    """Cut the whole text in pieces; space at its beginning stays with the first of them."""
    pieces = re.finditer(rf"(\s*)(\S{{1,{LONGEST_WORD}}})\s*", text)
    return tuple(Word(visible(found[0]), *found.span(2)) for found in pieces)
