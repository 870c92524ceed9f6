"""How far the judge of each objective can be trusted: its gate and its calibration, as tables for the page."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.evaluation.report.html import decimal, table, text
from rlhf_core.records.feedback import Calibration, JudgeGate

GATE_NOTE = (
    "Truth: who says which reply of a pair is better. Agreement: on the pairs that the judge decides, with the lower "
    "end of its 95 % interval, which must lie above always preferring the longer reply. Consistency: the same reply in "
    "both orders, on all pairs."
)
CALIBRATION_NOTE = (
    "p = sigmoid(log-odds / temperature). After: on pairs that the temperature was not fitted on. Gold only measures."
)


def judges(gates: Sequence[JudgeGate], calibrations: Sequence[Calibration]) -> str:
    """Return one row for each objective; empty where nothing was labelled."""
    return _gates(gates) + _calibrations(calibrations)


def _gates(gates: Sequence[JudgeGate]) -> str:
    rows = [
        [
            text(gate.objective),
            "passed" if gate.passed else f"<b>not passed</b> <small>{text(gate.reason)}</small>",
            gate.truth,
            f"{gate.pairs:,}",
            f"{gate.abstained:,}",
            f"<b>{_percent(gate.agreement)}</b> <small>at least {_percent(gate.agreement_low)}</small>",
            _percent(gate.longer_reply),
            _percent(gate.consistency),
        ]
        for gate in gates
    ]
    head = ["judge", "gate", "truth", "pairs", "abstained", "agreement", "longer reply", "consistency"]
    return table(head, rows, GATE_NOTE) if rows else ""


def _calibrations(calibrations: Sequence[Calibration]) -> str:
    rows = [
        [
            text(found.objective),
            decimal(found.temperature),
            "applied" if found.applied else "measured only",
            found.truth,
            f"{found.pairs:,}",
            f"{decimal(found.brier_before, 3)} → {decimal(found.brier_after, 3)}",
            f"{decimal(found.ece_before, 3)} → {decimal(found.ece_after, 3)}",
        ]
        for found in calibrations
    ]
    head = ["calibration", "temperature", "", "truth", "pairs", "Brier score", "calibration error"]
    return table(head, rows, CALIBRATION_NOTE) if rows else ""


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
