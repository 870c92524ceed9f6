"""A judge that reads each reply alone: its faults under a principle are weighed, and the lighter reply is better.

Reading replies one by one has no position to be biased by, and n replies take n readings, not one for each pair.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from rlhf_core.constitution.principle import Principle, hash_of
from rlhf_core.feedback.critic import TEMPLATE_HASH, criticise, verified_spans
from rlhf_core.feedback.judge_answers import Answer
from rlhf_core.feedback.judge_cache import MOST, Grade, Notebook
from rlhf_core.interfaces import Chat
from rlhf_core.records.feedback import Critique, Verdict
from rlhf_core.records.samples import Comparison, Sample

NATS = 1.2
"""Log-odds for each point that one reply's faults weigh less."""
WEIGHTS: dict[Verdict, int] = {"complies": 0, "borderline": 1, "violates": 2}
"""Points of what is quoted, by the verdict, where the critique does not grade it."""

_GRADED = re.compile(r"\bdanger ([1-3])\b", re.IGNORECASE)


def pointwise_hash(pairwise: str) -> str:
    """Hash the words around a critique, and those around a question that only a comparison can answer."""
    return hash_of([TEMPLATE_HASH, pairwise, str(NATS), *map(str, WEIGHTS.values())])


def weight_of(critique: Critique, response: str) -> int | None:
    """Add up a reply's points: each quotation counts, and `danger 1` to `danger 3` in its line say for how much.

    None for a critique that could not be read.
    """
    if critique.verdict is None:
        return None
    if critique.verdict == "complies":
        return 0
    remarks = [(line, spans) for line in critique.text.splitlines() if (spans := verified_spans(line, response))]
    return max(sum(points_of(line, critique.verdict, spans) for line, spans in remarks), 1)


def points_of(remark: str, verdict: Verdict, spans: Sequence[str]) -> int:
    """Return the points of what one line of a critique quotes."""
    graded = _GRADED.search(remark)
    return int(graded[1]) if graded else WEIGHTS[verdict] * len(spans)


def read_alone(
    chat: Chat, questions: Sequence[tuple[Comparison, Principle]], notebook: Notebook, judge: str
) -> list[Answer]:
    """Judge each pair by reading its replies one by one; the notebook keeps a reply's grade under a principle."""
    if len(notebook.grades) > MOST:
        notebook.grades.clear()
    unread: dict[tuple[str, str, str], tuple[Sample, Principle]] = {}
    for pair, principle in questions:
        for sample in (pair.a, pair.b):
            if (key := _key(sample, principle)) not in notebook.grades:
                unread[key] = sample, principle
    samples, principles = [sample for sample, _ in unread.values()], [principle for _, principle in unread.values()]
    written = criticise(chat, samples, principles, "", judge)
    for key, sample, critique in zip(unread, samples, written, strict=True):
        notebook.grades[key] = Grade(weight_of(critique, sample.response), critique.text, critique.reason)
    return [_weighed(*(notebook.grades[_key(s, principle)] for s in (p.a, p.b))) for p, principle in questions]


def _key(sample: Sample, principle: Principle) -> tuple[str, str, str]:
    return principle.hash, sample.prompt.id, sample.response


def _weighed(a: Grade, b: Grade) -> Answer:
    text = f"Reply A:\n{a.text}\n\nReply B:\n{b.text}"
    if a.points is None or b.points is None:
        return Answer(math.log(0.5), math.log(0.5), 0.0, text, a.reason or b.reason)
    odds = NATS * (b.points - a.points)
    return Answer(_log_sigmoid(odds), _log_sigmoid(-odds), 1.0, text)


def _log_sigmoid(x: float) -> float:
    return min(x, 0.0) - math.log1p(math.exp(-abs(x)))
