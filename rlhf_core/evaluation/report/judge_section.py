"""How far the judge of each objective can be trusted: its gate and its calibration, as tables for the page."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.evaluation.panel_summary import PanelSummary
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
PANEL_NOTE = (
    "Each judge of the panel by itself. Weight: how much it counts in the labels; one that fails its gate is left out, "
    "unless all do."
)
APART_NOTE = (
    "Pairs on which two judges or more have a say. Opposed: one prefers a, another b. Apart: mean difference of the "
    "two probabilities that are farthest apart."
)
TAKEN_NOTE = "While the run labelled. Tokens as an endpoint counts them; a model of the process has no such count."
MEASURED = ["gate", "truth", "pairs", "abstained", "agreement", "longer reply", "consistency"]


def judges(gates: Sequence[JudgeGate], calibrations: Sequence[Calibration], panel: PanelSummary | None = None) -> str:
    """Return one row for each objective, and of a panel those of its judges; empty where nothing was labelled."""
    return _gates(gates) + (_panel(panel) if panel else "") + _calibrations(calibrations)


def _gates(gates: Sequence[JudgeGate]) -> str:
    rows = [[text(gate.objective), *_measured(gate)] for gate in gates]
    return table(["judge", *MEASURED], rows, GATE_NOTE) if rows else ""


def _measured(gate: JudgeGate) -> list[str]:
    return [
        "passed" if gate.passed else f"<b>not passed</b> <small>{text(gate.reason)}</small>",
        gate.truth,
        f"{gate.pairs:,}",
        f"{gate.abstained:,}",
        f"<b>{_percent(gate.agreement)}</b> <small>at least {_percent(gate.agreement_low)}</small>",
        _percent(gate.longer_reply),
        _percent(gate.consistency),
    ]


def _panel(panel: PanelSummary) -> str:
    """Who sits on the panel and how each was measured, how far they are apart, and what each took."""
    members = [
        [
            f"{text(gate.judge)} <small>{text(gate.protocol)} of {text(gate.model)}</small>",
            text(gate.objective),
            decimal(gate.weight) if gate.weight else "<b>left out</b>",
            *_measured(gate),
        ]
        for gate in panel.gates
    ]
    apart = [
        [text(name), f"{found.pairs:,}", f"{found.opposed:,}", decimal(found.mean)]
        for name, found in panel.disagreement.items()
    ]
    taken = [
        [text(name), f"{one.votes:,.0f}", f"{one.seconds:,.1f}", f"{one.tokens:,.0f}", f"{one.cost:,.4f}"]
        for name, one in panel.taken.items()
    ]
    return (
        table(["panel", "objective", "weight", *MEASURED], members, PANEL_NOTE)
        + table(["judges apart", "pairs", "opposed", "apart"], apart, APART_NOTE)
        + table(["what each took", "votes", "seconds", "tokens", "cost"], taken, TAKEN_NOTE)
    )


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
