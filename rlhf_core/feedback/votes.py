"""Votes become labels: log-odds add up over orders and principles; nothing is ever a coin flip."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlhf_core.config import LabelConfig
from rlhf_core.constitution.schema import Constitution, Principle
from rlhf_core.feedback.prompts import COMPARE_HASH
from rlhf_core.records import Choice, Comparison, Preference, Protocol, Sample, Vote, content_id
from rlhf_core.run_records import Calibration, JudgeGate

TIE_BAND = (0.45, 0.55)
PAPER_CLAMP: dict[Protocol, tuple[float, float]] = {
    "notes": (0.0, 1.0),
    "logprobs": (0.0, 1.0),
    "cot": (0.4, 0.6),
    "text": (0.2, 0.8),
}
"""Bounds of a label's probability by protocol; those after a chain of thought are of Bai et al. 2022."""


def comparison_of(a: Sample, b: Sample, run_id: str) -> Comparison:
    """The comparison of two samples; the same two texts are the same comparison in every run."""
    return Comparison(id=content_id("comparison", a.prompt.id, a.response, b.response), a=a, b=b, run_id=run_id)


def vote_id(
    comparison: Comparison, principle: Principle, judge: str, swapped: bool, template_hash: str = COMPARE_HASH
) -> str:
    """Content key of a vote: another principle text, template, judge or order is another vote; a weight is not."""
    return content_id("vote", comparison.id, principle.hash, template_hash, judge, int(swapped))


def voters(
    comparison: Comparison, constitution: Constitution, objective: str, config: LabelConfig
) -> tuple[Principle, ...]:
    """The principles that vote on a comparison for an objective, in order of id.

    Of those that apply to the prompt, as many as the run or else the constitution asks for; none given means all. The
    draw ranks a hash of pair and principle id, so that neither a weight, a wording nor the order of a and b moves it.
    """
    fitting = [p for p in constitution.serving(objective) if p.applies_to(comparison.prompt.tags)]
    wanted = config.principles_per_label or constitution.defaults.compare.principles_per_label or len(fitting)
    pair = "\x1f".join((comparison.prompt.id, *sorted((comparison.a.response, comparison.b.response))))
    ranked = sorted(fitting, key=lambda p: hashlib.sha256(f"{pair}\x1f{p.id}".encode()).digest())
    return tuple(sorted(ranked[:wanted], key=lambda p: p.id))


class Tally(NamedTuple):
    """One objective's votes on one comparison, added up; log-odds are of a being better than b."""

    first: float
    """Log-odds with a shown first, over all principles."""
    second: float
    """Log-odds with a shown second."""
    label_mass: float
    """The least over the votes."""
    votes: int
    protocol: Protocol = "logprobs"
    reason: str = ""
    """Why there is no label whatever the probability: `no_principle`, `no_votes` or `parse_failure`."""
    said: tuple[float, float] | None = None
    """Where the judge answers in words: its mean choice in each order, from -1/2 for b to 1/2 for a."""

    @property
    def logit(self) -> float:
        """Mean over the two orders, which cancels an additive position bias exactly."""
        return (self.first + self.second) / 2

    @property
    def probability(self) -> float:
        if self.said is None:
            return sigmoid(self.logit)
        lead = sum(self.said) / 2
        # As sigmoid: swapping a and b gives 1 minus it to the last bit.
        return 0.5 + lead if lead >= 0 else 1 - (0.5 - lead)

    @property
    def gap(self) -> float:
        """|p_a shown first - p_a shown second|, each over all principles."""
        first, second = self.said or (sigmoid(self.first), sigmoid(self.second))
        return abs(first - second)


def tally(votes: Sequence[Vote], principles: Sequence[Principle], objective: str) -> Tally:
    """Weighted sum of the principles' log-odds, in each order.

    logit p = sum_j w_j s_j (l_j,first + l_j,second) / 2 with w_j the principle's weight and s_j its share in the
    objective. Votes of other principles do not count; a vote that could not be read adds nothing.
    """
    factor: dict[str, float] = defaultdict(float)
    for principle in principles:
        factor[principle.hash] += principle.weight * principle.serves[objective]
    used = [vote for vote in votes if vote.principle_hash in factor]
    logits = {False: 0.0, True: 0.0}
    for vote in used:
        if vote.label_mass > 0:
            logits[vote.swapped] += factor[vote.principle_hash] * (vote.logprob_a - vote.logprob_b)
    return Tally(
        first=logits[False],
        second=logits[True],
        label_mass=min((vote.label_mass for vote in used), default=0.0),
        votes=len(used),
        protocol=used[0].protocol if used else "logprobs",
        reason=_unusable(principles, used),
        said=_choices(used, factor) if used and used[0].protocol == "text" else None,
    )


def _choices(used: Sequence[Vote], factor: Mapping[str, float]) -> tuple[float, float]:
    """Weighted mean over the principles of 1/2 for a, -1/2 for b and 0 for a tie, in each order."""
    sums, weights = {False: 0.0, True: 0.0}, {False: 0.0, True: 0.0}
    for vote in used:
        margin, weight = vote.logprob_a - vote.logprob_b, factor[vote.principle_hash]
        weights[vote.swapped] += weight
        if not math.isclose(margin, 0, abs_tol=1e-9):
            sums[vote.swapped] += math.copysign(weight / 2, margin)
    first, second = (sums[order] / weights[order] if weights[order] else 0.0 for order in (False, True))
    return first, second


def _unusable(principles: Sequence[Principle], used: Sequence[Vote]) -> str:
    if not principles:
        return "no_principle"
    if not used:
        return "no_votes"
    return "parse_failure" if any(vote.reason or vote.label_mass == 0 for vote in used) else ""


def abstention(counted: Tally, config: LabelConfig) -> str:
    """Why the judge abstains; empty where its label counts."""
    if counted.reason:
        return counted.reason
    if counted.label_mass < config.min_label_mass:
        return "label_mass"
    return "position_gap" if counted.gap > config.abstain_gap else ""


def tallies(
    comparisons: Sequence[Comparison],
    votes: Sequence[Vote],
    constitution: Constitution,
    objective: str,
    config: LabelConfig,
) -> list[Tally]:
    """One tally for each comparison, of the votes of the principles that were drawn for it."""
    by_comparison: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_comparison[vote.comparison_id].append(vote)
    return [
        tally(by_comparison[pair.id], voters(pair, constitution, objective, config), objective) for pair in comparisons
    ]


def label(
    comparison: Comparison,
    counted: Tally,
    objective: str,
    judge: str,
    constitution: Constitution,
    config: LabelConfig,
    calibration: Calibration | None = None,
    gate: JudgeGate | None = None,
) -> Preference:
    """The AI's label of one objective: soft, with ties, abstaining where the judge contradicts itself.

    Without a calibration the probability stays within the bounds that its protocol or the constitution sets.
    """
    labeler, reason = f"ai:{judge}", abstention(counted, config)
    measured = (calibration.id if calibration else "", gate.id if gate else "")
    probability = _probability(counted, constitution, config, calibration)
    choice = choice_of(probability)
    return Preference(
        id=content_id("preference", comparison.run_id, comparison.id, objective, labeler, constitution.hash, *measured),
        comparison_id=comparison.id,
        objective=objective,
        labeler=labeler,
        choice=choice,
        probability=probability,
        abstained=bool(reason),
        reason=reason,
        gap=counted.gap,
        constitution_hash=constitution.hash,
        run_id=comparison.run_id,
        weight=config.tie_weight if choice == "tie" else 1.0,
        calibration_id=measured[0],
        ungated=gate is not None and not gate.passed,
    )


def labels_from_votes(
    comparisons: Sequence[Comparison],
    votes: Sequence[Vote],
    constitution: Constitution,
    judge: str,
    config: LabelConfig,
    calibrations: Mapping[str, Calibration] | None = None,
    gates: Mapping[str, JudgeGate] | None = None,
) -> list[Preference]:
    """One preference for each objective and comparison; deriving them calls no model.

    `calibrations` and `gates` are by objective; one that was not measured changes nothing.
    """
    return [
        label(
            *(pair, counted, objective, judge, constitution, config),
            calibration=(calibrations or {}).get(objective),
            gate=(gates or {}).get(objective),
        )
        for objective in constitution.objective_names
        for pair, counted in zip(comparisons, tallies(comparisons, votes, constitution, objective, config), strict=True)
    ]


def _probability(
    counted: Tally, constitution: Constitution, config: LabelConfig, calibration: Calibration | None
) -> float:
    if calibration is not None:
        return sigmoid(counted.logit / calibration.temperature)
    preset = PAPER_CLAMP[counted.protocol] if config.clamp == "paper" else config.clamp
    low, high = constitution.defaults.compare.clamp or preset
    return min(max(counted.probability, low), high)


def choice_of(probability: float) -> Choice:
    low, high = TIE_BAND
    return "a" if probability > high else "b" if probability < low else "tie"


def probability_of(choice: Choice) -> float:
    """A human's choice as the probability that a is better; both bad is a tie between them."""
    return {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5, "skip": 0.5}[choice]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)); sigmoid(-x) is 1 - sigmoid(x) to the last bit, so that swapping a and b is."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else 1 - 1 / (1 + math.exp(x))
