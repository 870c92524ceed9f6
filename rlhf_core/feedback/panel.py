"""Several judges as one: who of them counts, and what their log-odds come to together.

A panel's label is the weighted mean of its judges' log-odds (a logarithmic opinion pool, Genest and Zidek 1986), each
calibrated where people have told how. A judge that failed its gate has no weight, one that abstains on a pair has none
there.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.feedback.judge_gate import Evidence
from rlhf_core.feedback.preference_labels import bounds, label_probability
from rlhf_core.feedback.vote_aggregation import Tally, sigmoid
from rlhf_core.interfaces import PanelJudge
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Calibration, JudgeGate, Opinion

SUREST = 0.99
"""Most probability that a judge brings into a panel: log-odds have no bound, and one judge alone would decide."""


class Seat(NamedTuple):
    """A judge of a panel, as it was measured on one objective."""

    judge: str
    weight: float
    """0 where it is left out."""
    calibration: Calibration | None = None
    """The one that its labels go through."""


class Rules(NamedTuple):
    """How labels are made of tallies."""

    constitution: Constitution
    config: LabelConfig


def panel_name(panel: Sequence[PanelJudge]) -> str:
    """Name a panel by who sits on it, how each is asked and how much each counts."""
    members = [(one.name, one.feedback.name, one.feedback.template_hash, f"{one.weight:g}") for one in panel]
    return content_id("panel", *(part for member in members for part in member))[:14]


def weights_of(gates: Sequence[JudgeGate], weights: Sequence[float]) -> list[float]:
    """Return how much each judge counts for one objective: none that failed its gate, unless all did.

    `weights` are the configured ones. What people agreed with weighs by how often; gold only measures.
    """
    if not any(gate.passed for gate in gates):
        return list(weights)
    return [
        weight * (gate.agreement if gate.truth == "human" else 1.0) if gate.passed else 0.0
        for gate, weight in zip(gates, weights, strict=True)
    ]


def pool(said: Sequence[Tally], seats: Sequence[Seat], rules: Rules) -> Tally:
    """Make one tally of those of all judges on a pair: in each order the weighted mean of their log-odds.

    Where one judge alone counts the tally is its own; where all abstain it abstains for the reason of the first.
    """
    counted = [(tally, seat) for tally, seat in zip(said, seats, strict=True) if seat.weight]
    voices = [(_calibrated(tally, seat), seat) for tally, seat in counted if not tally.reason]
    if len(voices) < 2:
        return voices[0][0] if voices else counted[0][0]
    total = sum(seat.weight for _, seat in voices)
    odds = [_log_odds(tally, seat, rules) for tally, seat in voices]
    first, second = (
        sum(seat.weight * both[order] for both, (_, seat) in zip(odds, voices, strict=True)) / total
        for order in range(2)
    )
    mass = min(tally.label_mass for tally, _ in voices)
    return Tally(first, second, mass, sum(tally.votes for tally, _ in voices))


def pool_evidence(each: Sequence[Sequence[Evidence]], seats: Sequence[Seat], rules: Rules) -> list[Evidence]:
    """Return what a panel is held against: its judges' cases, all of the same pairs, with their tallies pooled."""
    pooled = []
    for of_truth in zip(*each, strict=True):
        cases = []
        for same in zip(*(evidence.cases for evidence in of_truth), strict=True):
            counted = pool([case.counted for case in same], seats, rules)
            cases.append(same[0]._replace(counted=counted, abstains=bool(counted.reason)))
        pooled.append(Evidence(of_truth[0].truth, cases))
    return pooled


def opinions(said: Sequence[Tally], seats: Sequence[Seat], rules: Rules) -> tuple[Opinion, ...]:
    """Return what each judge's own label of a pair would be, those left out too."""
    return tuple(
        Opinion(
            judge=seat.judge,
            probability=label_probability(tally, rules.constitution, rules.config, seat.calibration),
            weight=seat.weight,
            reason=tally.reason,
        )
        for tally, seat in zip(said, seats, strict=True)
    )


def latest(gates: Sequence[JudgeGate]) -> list[JudgeGate]:
    """Return the last measure of each judge and objective; a run that was taken up again has measured more than once.

    `gates` are those of one run, oldest first. Those of a panel that no longer labelled last are left out.
    """
    deciding = {gate.objective: gate for gate in gates if not gate.panel}
    members = {(gate.objective, gate.judge): gate for gate in gates if gate.panel}
    own = [gate for gate in members.values() if gate.panel == deciding[gate.objective].judge]
    return [*own, *deciding.values()]


def speaker_on_lines(gates: Sequence[JudgeGate], objective: str) -> JudgeGate | None:
    """Return the gate of the judge of a panel whose words grade single lines: the first that counts and criticises
    replies, or else notes what they hold.

    `gates` are those of a run, oldest first. None where no such judge counts.
    """
    counting = [gate for gate in latest(gates) if gate.panel and gate.objective == objective and gate.weight]
    return next((gate for how in ("pointwise", "notes") for gate in counting if gate.protocol == how), None)


def _calibrated(tally: Tally, seat: Seat) -> Tally:
    if seat.calibration is None:
        return tally
    t = seat.calibration.temperature
    return Tally(tally.first / t, tally.second / t, tally.label_mass, tally.votes)


def _log_odds(tally: Tally, seat: Seat, rules: Rules) -> tuple[float, float]:
    """In each order, within the bounds that the judge's own label would keep."""
    low, high = (0.0, 1.0) if seat.calibration else bounds(tally.protocol, rules.constitution, rules.config)
    low, high = max(low, 1 - SUREST), min(high, SUREST)
    first, second = (0.5 + lead for lead in tally.said) if tally.said else map(sigmoid, (tally.first, tally.second))
    a, b = (min(max(p, low), high) for p in (first, second))
    return math.log(a / (1 - a)), math.log(b / (1 - b))
