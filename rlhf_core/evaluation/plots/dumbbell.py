"""One row per objective, for any number of objectives, with gold or without: where each policy stands."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlhf_core.evaluation.evaluate import StageEvaluation
from rlhf_core.evaluation.plots.style import Palette, new_figure
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.statistics import Estimate


def draw_dumbbells(report: Report, palette: Palette, headline: str) -> Figure:
    """Change from the first policy, in reference sd: gold as full marks where it is known, reward models as rings."""
    names = report.objectives
    figure = new_figure(1.5 + 0.62 * len(names))
    axis = figure.subplots()
    axis.axvline(0, color=palette.soft, linewidth=1)
    for index, stage in enumerate(report.stages):
        colour = palette.stages[index % len(palette.stages)]
        for row, name in enumerate(names):
            _draw_marks(axis, report, stage, name, row, colour, label=stage.name if row == 0 else None)
    for row, name in enumerate(names):
        if name in report.oracle and report.gold_sd.get(name):
            best = (report.oracle[name] - report.stages[0].gold[name].value) / report.gold_sd[name]
            label = "oracle at these weights" if row == 0 else None
            axis.plot(best, row - 0.24, "*", markersize=12, color=palette.ink, linestyle="none", label=label)
    axis.set_yticks(range(len(names)), names, color=palette.ink, fontsize=11)
    axis.set_ylim(len(names) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.margins(x=0.08)
    full = "full: gold, ring: reward model; " if report.stages[0].gold else "by the reward models; "
    axis.set_xlabel(
        f"change from the first policy, {report.stages[0].name}, in reference sd ({full}lines: 95 % interval)"
    )
    figure.suptitle(headline, x=0.012, ha="left", fontsize=11, color=palette.soft)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.01, 1.0), ncols=4, handletextpad=0.4, columnspacing=1.4)
    return figure


def _draw_marks(
    axis: Axes, report: Report, stage: StageEvaluation, name: str, row: int, colour: str, label: str | None
) -> None:
    first, sd = report.stages[0], report.gold_sd.get(name)
    if name in stage.gold and sd:
        _mark(axis, stage.gold[name], first.gold[name].value, sd, row, colour, filled=True, label=label)
        label = None
    if name in stage.proxy:
        filled = not stage.gold
        shift = 0.0 if filled else 0.22
        _mark(axis, stage.proxy[name], first.proxy[name].value, 1.0, row + shift, colour, filled=filled, label=label)


def _mark(
    axis: Axes, number: Estimate, origin: float, sd: float, y: float, colour: str, *, filled: bool, label: str | None
) -> None:
    ends = [(number.low - origin) / sd, (number.high - origin) / sd]
    axis.plot(ends, [y, y], color=colour, linewidth=2, alpha=0.8 if filled else 0.45)
    face = colour if filled else axis.get_facecolor()
    value = (number.value - origin) / sd
    axis.plot(
        value,
        y,
        "o",
        markersize=9 if filled else 6.5,
        color=colour,
        markerfacecolor=face,
        linestyle="none",
        label=label,
    )
