"""Votes become labels: log-odds add up over orders and principles; nothing is ever a coin flip."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.feedback.prompts import COMPARE_HASH
from rlhf_core.feedback.vote_aggregation import Tally, abstention, choice_of, heard, sigmoid, tally
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Calibration, Choice, JudgeGate, Preference, Protocol, Vote
from rlhf_core.records.samples import Comparison, Sample

PAPER_CLAMP: dict[Protocol, tuple[float, float]] = {
    "notes": (0.0, 1.0),
    "logprobs": (0.0, 1.0),
    "cot": (0.4, 0.6),
    "text": (0.2, 0.8),
    "pointwise": (0.0, 1.0),
    "contrast": (0.0, 1.0),
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
    draw takes critical ones first and ranks a hash of pair and principle id, so that neither a weight, a wording nor
    the order of a and b moves it.
    """
    fitting = [p for p in constitution.serving(objective) if p.applies_to(comparison.prompt.tags)]
    wanted = config.principles_per_label or constitution.defaults.compare.principles_per_label or len(fitting)
    pair = "\x1f".join((comparison.prompt.id, *sorted((comparison.a.response, comparison.b.response))))

    def drawn(principle: Principle) -> tuple[bool, bytes]:
        return principle.severity != "critical", hashlib.sha256(f"{pair}\x1f{principle.id}".encode()).digest()

    ranked = sorted(fitting, key=drawn)
    return tuple(sorted(ranked[:wanted], key=lambda p: p.id))


def heard_voters(
    comparison: Comparison, votes: Sequence[Vote], constitution: Constitution, objective: str, config: LabelConfig
) -> Sequence[Principle]:
    """The principles that were drawn for a comparison and are not silenced by others, from all its votes."""
    drawn = voters(comparison, constitution, objective, config)
    return heard(drawn, votes, constitution.precedence(), config)


def tallies(
    comparisons: Sequence[Comparison],
    votes: Sequence[Vote],
    constitution: Constitution,
    objective: str,
    config: LabelConfig,
) -> list[Tally]:
    """One tally for each comparison, of the principles that were drawn for it and are not silenced by others."""
    by_comparison: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_comparison[vote.comparison_id].append(vote)
    counted = []
    for pair in comparisons:
        own = by_comparison[pair.id]
        counted.append(tally(own, heard_voters(pair, own, constitution, objective, config), objective))
    return counted


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


def probability_of(choice: Choice) -> float:
    """A human's choice as the probability that a is better; both bad is a tie between them."""
    return {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5, "skip": 0.5}[choice]
