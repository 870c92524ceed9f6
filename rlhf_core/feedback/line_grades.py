"""Read from a judge's votes what it says of single lines: labels of steps, not only of whole replies.

A critique quotes the lines at fault and grades them, notes say what every line gives. A reward model that scores lines
learns far more from that than from the better of two replies: process supervision (Lightman et al. 2023) by an AI.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.critic import parse_critique, plain, stands_in, verified_spans
from rlhf_core.feedback.pointwise_judge import points_of
from rlhf_core.models.reward_inputs import lines_of
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison

WRONG = -6.0
"""What notes' word for a line that does not belong there gives, in the notes' own points: two good lines' worth."""

_CRITIQUES = re.compile(r"Reply A:\n(.*)\n\nReply B:\n(.*)", re.DOTALL)
_NOTES = re.compile(r"A:\n(.*)\nB:\n(.*?)(?:\nBetter:.*)?", re.DOTALL)
_GIVES = re.compile(r"\s*\d+[.)]\s.*?\b(?:(\d{1,3})|wrong)\s*")

Grades = tuple[float, ...]
"""Of each line of a reply, more being better, in points of the judge's own."""


class Graded(NamedTuple):
    """The grades of both replies of a pair; None where the judge says nothing that can be read."""

    a: Grades | None
    b: Grades | None


def line_grades(pair: Comparison, votes: Sequence[Vote], principles: Sequence[Principle], objective: str) -> Graded:
    """Add up one objective's grades: each principle's mean over its votes, by the principle's weight and share.

    A reply that one of the principles does not grade has none; nor has any where some principles are read from
    critiques and others from notes, whose points are not the same. Notes say what a line gives, not what it risks, and
    so speak only for principles that cannot criticise.
    """
    protocols = {vote.protocol for vote in votes if vote.principle_hash in {one.hash for one in principles}}
    if len(protocols) > 1 or (protocols == {"notes"} and any(one.critique is not None for one in principles)):
        return Graded(None, None)
    by_principle: dict[str, list[Graded]] = defaultdict(list)
    for vote in votes:
        if vote.protocol != "pointwise" or not vote.swapped:  # a pointwise judge's two votes are one
            by_principle[vote.principle_hash].append(graded(pair, vote))
    sides: list[Grades | None] = []
    for side in range(2):
        total: Grades | None = None
        for principle in principles:
            factor = principle.weight * principle.serves[objective]
            found = [grades[side] for grades in by_principle[principle.hash]]
            read = [one for one in found if one is not None]
            if not read or len(read) < len(found):
                total = None
                break
            mean = [factor * sum(line) / len(read) for line in zip(*read, strict=True)]
            total = tuple(x + y for x, y in zip(total or (0.0,) * len(mean), mean, strict=True))
        sides.append(total)
    return Graded(*sides)


def graded(pair: Comparison, vote: Vote) -> Graded:
    """Read from one vote's text the grades of the lines of the pair's replies."""
    replies = pair.a.response, pair.b.response
    if vote.reason or vote.protocol not in ("pointwise", "notes"):
        return Graded(None, None)
    if vote.protocol == "pointwise":
        texts = _CRITIQUES.fullmatch(vote.text)
        if texts is None or vote.text.count("\n\nReply B:\n") > 1:
            return Graded(None, None)
        return Graded(*(_faults(text, reply) for text, reply in zip(texts.groups(), replies, strict=True)))
    texts = _NOTES.fullmatch(vote.text)
    if texts is None:
        return Graded(None, None)
    shown = texts.groups()[::-1] if vote.swapped else texts.groups()
    return Graded(*(_given(text, reply) for text, reply in zip(shown, replies, strict=True)))


def _faults(text: str, reply: str) -> Grades | None:
    """Minus the points of what a critique quotes, each in the line where it stands; None where one stands in none."""
    verdict, lines = parse_critique(text, reply).verdict, lines_of(reply)
    if verdict is None:
        return None
    points = [0.0] * len(lines)
    quoted: dict[str, int] = {}  # by words: the line in which they were quoted last
    for remark in text.splitlines() if verdict != "complies" else ():
        spans = verified_spans(remark, reply)
        for span in spans:
            at = [i for i, line in enumerate(lines) if stands_in(span, line) and i > quoted.get(plain(span), -1)]
            if at:
                quoted[plain(span)] = at[0]
                points[at[0]] -= points_of(remark, verdict, spans) / len(spans)
            elif plain(span) not in quoted:
                return None
    return tuple(points)


def _given(text: str, reply: str) -> Grades | None:
    """What notes say that each line gives: the last word of their line on it."""
    read = [_GIVES.fullmatch(line) for line in text.splitlines()]
    if len(read) != len(lines_of(reply)) or None in read:
        return None
    return tuple(WRONG if found[1] is None else float(found[1]) for found in read if found)
