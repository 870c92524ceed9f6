"""What people say of a pair together, as one label.

The rule, in this order:
1. What a reviewer decided is the label.
2. Of one person's answer the label is that answer.
3. Of several people's it is the probability of the truth given all their answers and everybody's skill (`dawid_skene`):
   that of a being better, plus half of that of neither being better.
Answers of people who are shut out, second answers and skips count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_core.annotation.dawid_skene import EVEN, TRUTHS, A, B, Fit, Given, fit
from rlhf_core.records.annotation import Answer
from rlhf_core.records.feedback import Choice

SAID: dict[Choice, int] = {"a": A, "b": B, "tie": EVEN, "both_bad": EVEN}
"""Answers by what they say of the truth; a skip says nothing."""
CLEAR = 0.75
"""What people together must be sure of, for a judge to be held against it."""


class SoftLabel(NamedTuple):
    """One comparison's label for one objective."""

    comparison_id: str
    probability: float
    """That a is better than b."""
    tied: bool
    """That neither is better is likelier than that one is; `probability` is 0.5."""
    certainty: float
    """Probability of the likeliest truth."""
    weight: float
    """Mean of the answers' weights: how many people answered is no weight, it shows in the probability."""
    uniform: bool
    """Drawn with no regard to what the AI made of it."""
    people: int


class Crowd(NamedTuple):
    """All answers to one objective that count, and what follows from them."""

    answers: Sequence[Answer]
    items: Sequence[str]
    """Comparisons, in the order in which they were first answered."""
    people: Sequence[str]
    """Labelers, likewise."""
    given: Given
    known: Mapping[int, int]
    """Item -> the truth that a reviewer decided."""
    fit: Fit


def crowd_of(answers: Iterable[Answer], adjudicated: Mapping[str, Choice]) -> Crowd:
    """Fit skills and truths to the first answers of one objective, in the order in which they were given.

    `adjudicated` maps comparisons to what was decided; what was set aside, with `skip`, is left out altogether.
    """
    decided = {pair: SAID[choice] for pair, choice in adjudicated.items() if choice in SAID}
    aside = adjudicated.keys() - decided.keys()
    counted = [a for a in answers if a.choice in SAID and not a.repeated and a.comparison_id not in aside]
    items = {pair: place for place, pair in enumerate(dict.fromkeys(a.comparison_id for a in counted))}
    people = {name: place for place, name in enumerate(dict.fromkeys(a.labeler for a in counted))}
    columns = (
        [items[a.comparison_id] for a in counted],
        [people[a.labeler] for a in counted],
        [SAID[a.choice] for a in counted],
    )
    given = Given(*(np.array(column, dtype=np.int64) for column in columns))
    known = {items[pair]: truth for pair, truth in decided.items() if pair in items}
    return Crowd(counted, list(items), list(people), given, known, fit(given, len(items), len(people), known))


def soft_labels(crowd: Crowd) -> list[SoftLabel]:
    """Make one label for each comparison that somebody answered, by the rule above."""
    answers: dict[str, list[Answer]] = {pair: [] for pair in crowd.items}
    for answer in crowd.answers:
        answers[answer.comparison_id].append(answer)
    return [_label(crowd, place, answers[pair]) for place, pair in enumerate(crowd.items)]


def _label(crowd: Crowd, item: int, answers: Sequence[Answer]) -> SoftLabel:
    alone = SAID[answers[0].choice] if len(answers) == 1 else None
    truth = crowd.known.get(item, alone)
    truths = crowd.fit.truths[item] if truth is None else np.eye(TRUTHS)[truth]
    tied = bool(truths[EVEN] > 0.5)
    return SoftLabel(
        comparison_id=crowd.items[item],
        probability=0.5 if tied else float(truths[A] + truths[EVEN] / 2),
        tied=tied,
        certainty=float(truths.max()),
        weight=sum(answer.weight for answer in answers) / len(answers),
        uniform=answers[0].uniform,
        people=len(answers),
    )
