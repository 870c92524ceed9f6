"""What the rewards did and what they did not: a verdict, what each part added, and training beside held-out prompts."""

from __future__ import annotations

from rlhf_core.evaluation.gains import CONTROL, SHIPPED, TRAINED, Gain
from rlhf_core.evaluation.report.html import decimal, number, table, text
from rlhf_core.evaluation.report.record import Report

ADDED = (
    "Differences of weighted scores on the same held-out prompts, paired by prompt, in reference standard deviations. "
    "The control is the same PPO from the same policy, {paid}: what it gains is not the rewards' doing."
)
PAID = {
    "nothing": "with no score paid",
    "shuffled": "with each prompt's scores shuffled among its responses, so that they push and say nothing",
}
SEEN = (
    "Gold on prompts of the training split, whether or not training drew each of them, beside gold on held-out ones. "
    "A gap that opens in training was learned by heart."
)


def verdict(report: Report) -> str:
    """Say in one sentence whether the rewards moved the policy, by the best judge that there is; empty without PPO."""
    gain = rewards_gain(report)
    if gain is None:
        return ""
    spread = f"{decimal(gain.weighted.value)} [{decimal(gain.weighted.low)}, {decimal(gain.weighted.high)}]"
    if gain.before == CONTROL:
        what, added, doubted = "The rewards", "they added", "are not shown"
    else:
        what, added, doubted = "PPO, of which no control was run,", "it added", "is not shown"
    said = f"moved the policy: {added}" if gain.is_shown else f"{doubted} to have moved the policy for the better:"
    return f"{what} {said} {spread} reference sd by {gain.judge}."


def rewards_gain(report: Report) -> Gain | None:
    """Return what lies between the last policy and the one before it, by the best judge that there is."""
    return next((gain for gain in report.gains if gain.after == TRAINED and gain.before != SHIPPED), None)


def control_told(report: Report) -> str:
    """Say how long the control was trained, and by what where that is not nothing."""
    lots = ", paid shuffled scores" if report.control_pays == "shuffled" else ""
    return f"{report.control_steps} steps{lots}"


def gains_table(report: Report) -> str:
    """Make a row for each part of the training and each judge of it."""
    if not report.gains:
        return ""
    rows = []
    for gain in report.gains:
        steps = f" <small>({control_told(report)})</small>" if CONTROL in (gain.before, gain.after) else ""
        cells = [number(gain.objectives.get(name)) for name in report.objectives]
        way = number(gain.way, 0, percent=True) if gain.way else "–"
        rows.append([f"{text(gain.name)}{steps}", text(gain.judge), number(gain.weighted), way, *cells])
    head = ["added by", "judge", "weighted", "of the way", *(text(name) for name in report.objectives)]
    said = verdict(report)
    return (f"<p><b>{text(said)}</b></p>" if said else "") + table(
        head, rows, ADDED.format(paid=PAID[report.control_pays])
    )


def seen_table(report: Report) -> str:
    """Write every policy's gold on training and on held-out prompts.

    Where no gold is known, the reward models' scores stand there.
    """
    if not report.training:
        return ""
    kind = "gold" if report.training[0].gold else "proxy"
    names = [name for name in report.objectives if name in getattr(report.training[0], kind)]
    if not names:
        return ""
    head = [
        "policy",
        *(f"{text(name)}<br><small>{where}</small>" for name in names for where in ("training", "held out")),
    ]
    rows = [
        [text(held.name), *(number(getattr(one, kind)[name]) for name in names for one in (seen, held))]
        for seen, held in zip(report.training, report.stages, strict=True)
    ]
    ways = [weighted.fraction if weighted else None for weighted in (report.training_weighted, report.weighted)]
    if all(ways):
        said = " and ".join(number(way, 0, percent=True) for way in ways)
        return table(head, rows, f"{SEEN} Of the way to the oracle: {said}.")
    return table(head, rows, SEEN)
