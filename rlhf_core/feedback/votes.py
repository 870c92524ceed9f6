"""Votes become labels: log-odds add up over orders and principles; nothing is ever a coin flip."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config import LabelConfig
from rlhf_core.constitution.schema import Constitution, Principle
from rlhf_core.feedback.prompts import COMPARE_HASH
from rlhf_core.records import Choice, Comparison, Preference, Sample, Vote, content_id

TIE_BAND = (0.45, 0.55)


def comparison_of(a: Sample, b: Sample, run_id: str) -> Comparison:
    """The comparison of two samples; the same two texts are the same comparison in every run."""
    return Comparison(id=content_id("comparison", a.prompt.id, a.response, b.response), a=a, b=b, run_id=run_id)


def vote_id(
    comparison: Comparison, principle: Principle, judge: str, swapped: bool, template_hash: str = COMPARE_HASH
) -> str:
    """Content key of a vote: another principle text, template, judge or order is another vote; a weight is not."""
    return content_id("vote", comparison.id, principle.hash, template_hash, judge, int(swapped))


class Tally(NamedTuple):
    """One objective's votes on one comparison, added up."""

    probability: float
    gap: float
    """|p_a shown first - p_a shown second|, each over all principles."""
    label_mass: float
    """The least over the votes."""
    votes: int


def tally(votes: Sequence[Vote], constitution: Constitution, objective: str) -> Tally:
    """Weighted sum of the principles' log-odds, averaged over the two orders.

    logit p = sum_j w_j s_j (l_j,first + l_j,second) / 2 with w_j the principle's weight and s_j its share in the
    objective; the mean over orders cancels an additive position bias exactly.
    """
    logits = {False: 0.0, True: 0.0}
    factor = {p.hash: p.weight * p.serves[objective] for p in constitution.serving(objective)}
    used = [vote for vote in votes if vote.principle_hash in factor]
    for vote in used:
        logits[vote.swapped] += factor[vote.principle_hash] * (vote.logprob_a - vote.logprob_b)
    probability = sigmoid((logits[False] + logits[True]) / 2)
    gap = abs(sigmoid(logits[False]) - sigmoid(logits[True]))
    return Tally(probability, gap, min((vote.label_mass for vote in used), default=0.0), len(used))


def label(
    comparison: Comparison, counted: Tally, objective: str, judge: str, constitution: Constitution, config: LabelConfig
) -> Preference:
    """The AI's label of one objective: soft, with ties, abstaining where the judge contradicts itself."""
    labeler = f"ai:{judge}"
    reason = ""
    if counted.label_mass < config.min_label_mass:
        reason = "label_mass"
    elif counted.gap > config.abstain_gap:
        reason = "position_gap"
    return Preference(
        id=content_id("preference", comparison.run_id, comparison.id, objective, labeler, constitution.hash),
        comparison_id=comparison.id,
        objective=objective,
        labeler=labeler,
        choice=choice_of(counted.probability),
        probability=counted.probability,
        abstained=bool(reason),
        reason=reason,
        gap=counted.gap,
        constitution_hash=constitution.hash,
        run_id=comparison.run_id,
    )


def labels_from_votes(
    comparisons: Sequence[Comparison],
    votes: Sequence[Vote],
    constitution: Constitution,
    judge: str,
    config: LabelConfig,
) -> list[Preference]:
    """One preference for each comparison and objective; deriving them calls no model."""
    by_comparison: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_comparison[vote.comparison_id].append(vote)
    return [
        label(pair, tally(by_comparison[pair.id], constitution, objective), objective, judge, constitution, config)
        for pair in comparisons
        for objective in constitution.objective_names
    ]


def choice_of(probability: float) -> Choice:
    low, high = TIE_BAND
    return "a" if probability > high else "b" if probability < low else "tie"


def probability_of(choice: Choice) -> float:
    """A human's choice as the probability that a is better; both bad is a tie between them."""
    return {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5, "skip": 0.5}[choice]


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
