"""Derive soft labels from tallied votes; where the votes contradict each other the label abstains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.feedback.vote_aggregation import Tally, choice_of, sigmoid
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Calibration, Choice, JudgeGate, Preference, Protocol
from rlhf_core.records.samples import Comparison

PAPER_CLAMP: dict[Protocol, tuple[float, float]] = {
    "notes": (0.0, 1.0),
    "logprobs": (0.0, 1.0),
    "cot": (0.4, 0.6),
    "text": (0.2, 0.8),
    "pointwise": (0.0, 1.0),
    "contrast": (0.0, 1.0),
}
"""Bounds of a label's probability by protocol; those after a chain of thought are of Bai et al. 2022."""


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
    """Derive the AI's label of one objective from a tally: soft, with ties, or an abstention.

    Without a calibration the probability stays within the bounds that its protocol or the constitution sets.
    """
    labeler = f"ai:{judge}"
    measured = (calibration.id if calibration else "", gate.id if gate else "")
    probability = label_probability(counted, constitution, config, calibration)
    choice = choice_of(probability)
    return Preference(
        id=content_id("preference", comparison.run_id, comparison.id, objective, labeler, constitution.hash, *measured),
        comparison_id=comparison.id,
        objective=objective,
        labeler=labeler,
        choice=choice,
        probability=probability,
        abstained=bool(counted.reason),
        reason=counted.reason,
        gap=counted.gap,
        constitution_hash=constitution.hash,
        run_id=comparison.run_id,
        weight=config.tie_weight if choice == "tie" else 1.0,
        calibration_id=measured[0],
        ungated=gate is not None and not gate.passed,
    )


def labels_from_tallies(
    comparisons: Sequence[Comparison],
    tallies: Mapping[str, Sequence[Tally]],
    constitution: Constitution,
    judge: str,
    config: LabelConfig,
    calibrations: Mapping[str, Calibration] | None = None,
    gates: Mapping[str, JudgeGate] | None = None,
) -> list[Preference]:
    """Derive one preference for each objective and comparison, without any model.

    `tallies`, `calibrations` and `gates` are by objective, the tallies of one in the order of the comparisons; a
    calibration or gate that was not measured changes nothing.
    """
    return [
        label(
            *(pair, counted, objective, judge, constitution, config),
            calibration=(calibrations or {}).get(objective),
            gate=(gates or {}).get(objective),
        )
        for objective, of_objective in tallies.items()
        for pair, counted in zip(comparisons, of_objective, strict=True)
    ]


def label_probability(
    counted: Tally, constitution: Constitution, config: LabelConfig, calibration: Calibration | None
) -> float:
    """Return the probability of a label: calibrated, or else within bounds."""
    if calibration is not None:
        return sigmoid(counted.logit / calibration.temperature)
    low, high = bounds(counted.protocol, constitution, config)
    return min(max(counted.probability, low), high)


def bounds(protocol: Protocol, constitution: Constitution, config: LabelConfig) -> tuple[float, float]:
    """Return the bounds of a label that no calibration made; the constitution's own go first."""
    preset = PAPER_CLAMP[protocol] if config.clamp == "paper" else config.clamp
    low, high = constitution.defaults.compare.clamp or preset
    return low, high


def probability_of(choice: Choice) -> float:
    """Return a person's choice as the probability that a is better; `both_bad` is a tie."""
    return {"a": 1.0, "b": 0.0, "tie": 0.5, "both_bad": 0.5, "skip": 0.5}[choice]
