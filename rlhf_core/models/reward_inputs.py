"""What a reward model reads: one conversation's tokens, and the parts of them that are scored."""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.records.samples import Message, Prompt

ANOTHER = "Now another reply."
"""The turn between the answer that is read for comparison and the reply that is scored."""


class Row(NamedTuple):
    """Tokens, and spans [start, end) of them in order: one for the reply as a whole, or one for each of its lines.

    A decoder scores the last token of a span, which has read all before it; an encoder the mean of a span.
    """

    ids: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    reply: int
    """How many of the tokens, cut ones included, are the reply's."""


def beside(prompt: Prompt, answer: str) -> Prompt:
    """Put an answer to the prompt into it, so that what is read next is read beside that."""
    turns = (Message(role="assistant", content=answer), Message(role="user", content=ANOTHER))
    return prompt.model_copy(update={"messages": (*prompt.messages, *turns)})


def whole(before: Sequence[int], reply: Sequence[int], max_tokens: int | None) -> Row:
    """Make a row of one span; of too long a conversation the end is kept."""
    ids = [*before, *reply]
    kept = tuple(ids if max_tokens is None else ids[-max_tokens:])
    return Row(kept, ((0, len(kept)),), len(reply))


def by_line(before: Sequence[int], lines: Sequence[Sequence[int]], max_tokens: int | None) -> Row:
    """Make a row with a span for each line that has tokens.

    Of too long a conversation the end is kept, and its lines.
    """
    ids, spans = list(before), []
    for line in filter(len, lines):
        spans.append((len(ids), len(ids) + len(line)))
        ids += line
    cut = 0 if max_tokens is None else max(0, len(ids) - max_tokens)
    kept = tuple((max(0, start - cut), end - cut) for start, end in spans if end > cut)
    return Row(tuple(ids[cut:]), kept or ((0, len(ids) - cut),), sum(map(len, lines)))


def unended(row: Row) -> Row:
    """Return the row whose last span stops before the end token, unless it holds nothing else.

    Where a reply ends, a decoder sums it up; the last line is read where its last word is, as every other is.
    """
    start, end = row.spans[-1]
    return row._replace(spans=(*row.spans[:-1], (start, max(start + 1, end - 1))))


def parted(ids: Sequence[int], ends: Sequence[int], lines: Sequence[str]) -> list[list[int]]:
    """Part a text's tokens by line, in their order. `ends` tells at which character of the text each of them ends.

    A token that spans two lines is the later one's.
    """
    line_ends = list(itertools.accumulate(map(len, lines)))
    parts: list[list[int]] = [[] for _ in lines]
    place = 0
    for token, end in zip(ids, ends, strict=True):
        place = max(place, min(bisect_right(line_ends, end - 1), len(lines) - 1))
        parts[place].append(token)
    return parts


def lines_of(reply: str) -> list[str]:
    """Split a reply into its steps.

    They are its lines, each with its line end; lines without text belong to the one before.
    """
    lines: list[str] = []
    for line in reply.splitlines(keepends=True):
        if lines and not (line.strip() and lines[-1].strip()):
            lines[-1] += line
        else:
            lines.append(line)
    return lines or [""]
