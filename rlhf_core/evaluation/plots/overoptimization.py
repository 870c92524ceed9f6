"""Pictures of reward hacking: gain against distance with its curve, the gap over the run, manner, and best-of-n."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlhf_core.evaluation.best_of_n import BestOfN
from rlhf_core.evaluation.overoptimization import GaoFit, Goodhart
from rlhf_core.evaluation.plots.style import Palette, new_figure, title_legend
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.run_summary import Curve
from rlhf_core.evaluation.statistics import Estimate

JUDGES = {"proxy": "reward model", "auditor": "auditor", "gold": "gold"}
"""Who may judge a gain, and what a reader calls it."""
MANNER = {"monitor.length_ratio": "length beside the reference", "monitor.top_gram": "replies that share five words"}
GAIN = "gain, ref. sd"


def draw_goodhart(report: Report, palette: Palette) -> Figure | None:
    """Draw a row for each objective: gain against sqrt(KL) with the fitted curve, and the gap by step.

    Rows on the manner of the replies come last.
    """
    rows, manner = report.goodhart, [c for c in report.curves if c.stage == "ppo" and c.name in MANNER]
    if not rows:
        return None
    figure = new_figure(0.4 + 2.7 * (len(rows) + bool(manner)))
    axes = figure.subplots(len(rows) + bool(manner), 2, squeeze=False)
    for (left, right), found in zip(axes, rows, strict=False):
        _draw_gains(left, found, palette)
        _draw_gap(right, found, palette)
    for axis, name in zip(axes[-1] if manner else (), MANNER, strict=False):
        _draw_manner(axis, [curve for curve in manner if curve.name == name], MANNER[name], palette)
    for axis in axes[-1]:
        if not axis.has_data():
            axis.remove()
    return figure


def _colours(palette: Palette) -> dict[str, str]:
    return {"proxy": palette.stages[1], "auditor": palette.stages[2], "gold": palette.ink}


def _draw_gains(axis: Axes, found: Goodhart, palette: Palette) -> None:
    distances = [point.distance for point in found.points]
    for judge, colour in _colours(palette).items():
        gains = [getattr(point, judge) for point in found.points]
        if not all(gains):
            continue
        fit = found.fits.get(judge)
        _draw_points(axis, distances, gains, colour, JUDGES[judge], line=fit is None)
        if fit is not None:
            _draw_fit(axis, fit, colour)
    axis.axhline(0, color=palette.soft, linewidth=0.8)
    axis.set_title(found.objective)
    axis.set_xlabel("d = sqrt(KL) from the reference; lines: d (α − β log d)")
    axis.set_ylabel(GAIN)
    axis.margins(x=0.04, y=0.12)
    title_legend(axis, 3)


def _draw_points(
    axis: Axes, x: Sequence[float], estimates: Sequence[Estimate], colour: str, label: str, line: bool
) -> None:
    values, order = [estimate.value for estimate in estimates], np.argsort(x, kind="stable")
    low, high = ([max(0.0, e.value - e.low) for e in estimates], [max(0.0, e.high - e.value) for e in estimates])
    axis.errorbar(x, values, yerr=[low, high], fmt="o", color=colour, markersize=5, elinewidth=1.2, label=label)
    if line:
        axis.plot(np.asarray(x)[order], np.asarray(values)[order], color=colour, linewidth=1.2, alpha=0.6)


def _draw_fit(axis: Axes, fit: GaoFit, colour: str) -> None:
    """The curve as far as it was seen, and its peak where that was."""
    distances = np.linspace(0, fit.seen, 80)
    axis.plot(distances, [fit.gain(float(d)) for d in distances], color=colour, linewidth=1.8, alpha=0.75)
    if fit.peak is not None and fit.peak_gain is not None:
        axis.plot(fit.peak, fit.peak_gain, "v", color=colour, markersize=9)


def _draw_gap(axis: Axes, found: Goodhart, palette: Palette) -> None:
    for name, judge in (("gap", "auditor"), ("gold_gap", "gold")):
        gaps = [getattr(point, name) for point in found.points]
        if all(gaps):
            steps, colour = [point.step for point in found.points], _colours(palette)[judge]
            axis.plot(steps, [gap.value for gap in gaps], color=colour, marker="o", linewidth=2, label=f"to {judge}")
            axis.fill_between(steps, [gap.low for gap in gaps], [gap.high for gap in gaps], color=colour, alpha=0.15)
    if found.parted_at is not None:
        axis.axvline(found.parted_at, color=palette.stages[3], linestyle="--", linewidth=1.4, label="parted")
    axis.axhline(0, color=palette.soft, linewidth=0.8)
    axis.set_title(found.objective)
    axis.set_xlabel("PPO step, held-out prompts")
    axis.set_ylabel("reward model's gap, ref. sd")
    axis.margins(x=0.03, y=0.12)
    if axis.get_legend_handles_labels()[0]:
        title_legend(axis, 3)


def _draw_manner(axis: Axes, curves: Sequence[Curve], title: str, palette: Palette) -> None:
    for curve in curves:
        axis.plot(curve.steps, curve.values, color=palette.stages[2], linewidth=2)
        axis.set_title(title)
        axis.set_xlabel("PPO step")
        axis.margins(x=0.02, y=0.15)


def draw_best_of_n(report: Report, palette: Palette) -> Figure | None:
    """Draw a panel for each objective: what the best of n by the reward model gains, by each judge of it."""
    rows = report.best_of
    if not rows:
        return None
    figure = new_figure(0.4 + 2.9 * -(-len(rows) // 2))
    axes = figure.subplots(-(-len(rows) // 2), min(2, len(rows)), squeeze=False).flatten().tolist()
    for axis in axes[len(rows) :]:
        axis.remove()
    for axis, found in zip(axes, rows, strict=False):
        _draw_choices(axis, found, palette)
    return figure


def _draw_choices(axis: Axes, found: BestOfN, palette: Palette) -> None:
    distances = np.sqrt(found.kl)
    for judge, colour in _colours(palette).items():
        if judge in found.gains:
            _draw_points(axis, distances.tolist(), found.gains[judge], colour, JUDGES[judge], line=True)
    axis.axhline(0, color=palette.soft, linewidth=0.8)
    axis.set_xticks(distances, [str(n) for n in found.n])
    axis.set_title(found.objective)
    axis.set_xlabel("best of n, by sqrt(log n − (n − 1)/n)")
    axis.set_ylabel(GAIN)
    axis.margins(x=0.05, y=0.12)
    title_legend(axis, 3)
