"""What a panel of judges did in a run: how each was measured, how far they disagree, and what each took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rlhf_core.records.base import Record
from rlhf_core.records.feedback import JudgeGate, Preference

COSTS = "judge."
"""Begins the names of what each judge took, among a stage's numbers."""


class JudgeTaken(Record):
    """What one judge took while a run labelled."""

    votes: float = 0
    seconds: float = 0
    tokens: float = 0
    """As its endpoint counted them; 0 for a model of the process."""
    cost: float = 0


class PanelDisagreement(Record):
    """How far the judges of a panel that count are apart on one objective."""

    pairs: int
    """On which two or more of them have a say."""
    opposed: int
    """Of these, on which one prefers a and another b."""
    mean: float
    """Mean difference of the two probabilities that are farthest apart; 0 where there are no such pairs."""


class PanelSummary(Record):
    gates: tuple[JudgeGate, ...]
    """Of each judge and objective."""
    disagreement: dict[str, PanelDisagreement]
    taken: dict[str, JudgeTaken]
    """By judge."""


def panel_summary(
    labels: Sequence[Preference], gates: Sequence[JudgeGate], numbers: Mapping[str, float]
) -> PanelSummary | None:
    """Sum up a panel from its labels, its judges' gates and the label stage's numbers; None where there was none."""
    if not gates:
        return None
    by_objective: dict[str, list[Preference]] = defaultdict(list)
    for label in labels:
        by_objective[label.objective].append(label)
    return PanelSummary(
        gates=tuple(gates),
        disagreement={name: _disagreement(own) for name, own in by_objective.items()},
        taken={name: _taken(name, numbers) for name in dict.fromkeys(gate.judge for gate in gates)},
    )


def _disagreement(labels: Sequence[Preference]) -> PanelDisagreement:
    said = [[one.probability for one in label.opinions if one.counts] for label in labels]
    several = [each for each in said if len(each) > 1]
    spreads = [max(each) - min(each) for each in several]
    return PanelDisagreement(
        pairs=len(several),
        opposed=sum(min(each) < 0.5 < max(each) for each in several),
        mean=sum(spreads) / len(spreads) if spreads else 0.0,
    )


def _taken(judge: str, numbers: Mapping[str, float]) -> JudgeTaken:
    prefix = f"{COSTS}{judge}."
    own = {name.removeprefix(prefix): value for name, value in numbers.items() if name.startswith(prefix)}
    return JudgeTaken.model_validate(own)
