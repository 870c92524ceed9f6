"""The rule that flags somebody whose answers cannot be trusted, after as few items as the evidence allows.

A good annotator is right with a probability of at least `good`, and picks the left reply as often as the right one,
since sides are drawn. Against that stand five ways of being bad. Each is a bet whose stake grows with every answer that
it explains better (a likelihood ratio, Wald 1945); somebody is flagged when the five stakes add up to
1 / `false_alarm`. By Ville's inequality a good annotator is ever flagged, after however many items, with a probability
of at most `false_alarm`: exactly where truths are known and for the sides, and where the truth comes from other
people's answers as far as those probabilities are right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.annotation.dawid_skene import TRUTHS

Kind = Literal["careless", "random", "contrary", "left", "right"]
STAKES: dict[Kind, float] = {"careless": 0.5, "random": 0.2, "contrary": 0.2, "left": 0.05, "right": 0.05}
"""What is staked on each way of being bad at first, 1 in all: most on what is hardest to tell from good."""
RIGHT_SHARES = (2 / 3, 2 / 5, 1 / 20)
"""How often the careless, the random and the contrary are right, in parts of `good`."""
ONE_SIDE = 0.85
"""How often somebody who answers by the side picks it."""
LEFT, RIGHT, NEITHER = 1, -1, 0
LARGEST_LOG = 700.0
"""Of evidence that is still a number."""


class Flag(NamedTuple):
    """What one person's answers are worth as evidence against them."""

    kind: Kind | None
    """Where the person is flagged: which of the bad ways was likeliest when the evidence was strongest."""
    after: int
    """How many answers it took; 0 where the person is not flagged."""
    evidence: float
    """The largest sum of the stakes so far; flagged from 1 / `false_alarm` on."""


def judge_annotator(
    truths: ArrayLike, said: Sequence[int], sides: Sequence[int], good: float, false_alarm: float
) -> Flag:
    """Go through one person's answers in their order.

    Args:
        truths: (N, truth) probabilities of each item's truth that owe nothing to this person; rows of equal numbers
            where nobody knows.
        said: (N,) answers: A, EVEN or B.
        sides: (N,) LEFT or RIGHT, the side of the reply that was picked; NEITHER without one, or where it is unknown.
        good: least probability of a good annotator to be right.
        false_alarm: largest probability of flagging a good annotator.
    """
    known = np.asarray(truths, dtype=float).reshape(-1, TRUTHS)
    if not len(known):
        return Flag(None, 0, 0.0)
    right = known[np.arange(len(known)), np.asarray(said, dtype=int)]
    steps = [_answer_step(right, good * share, good) for share in RIGHT_SHARES]
    steps += [_side_step(np.asarray(sides), picked) for picked in (LEFT, RIGHT)]
    stakes = np.cumsum(steps, axis=1) + np.log(list(STAKES.values()))[:, None]
    all_stakes = np.logaddexp.reduce(stakes, axis=0)
    over = np.flatnonzero(all_stakes >= -math.log(false_alarm))
    evidence = math.exp(min(float(all_stakes.max()), LARGEST_LOG))
    if not len(over):
        return Flag(None, 0, evidence)
    strongest = int(all_stakes.argmax())
    return Flag(list(STAKES)[int(stakes[:, strongest].argmax())], int(over[0]) + 1, evidence)


def _answer_step(right: NDArray[np.float64], share: float, good: float) -> NDArray[np.float64]:
    """Log-likelihood ratio of each answer; a wrong one is either of the two others, as likely each."""

    def likelihood(share: float) -> NDArray[np.float64]:
        return right * share + (1 - right) * (1 - share) / (TRUTHS - 1)

    return np.log(likelihood(share)) - np.log(likelihood(good))


def _side_step(sides: NDArray[np.int64], picked: int) -> NDArray[np.float64]:
    return np.where(sides == NEITHER, 0.0, np.log(2 * np.where(sides == picked, ONE_SIDE, 1 - ONE_SIDE)))
