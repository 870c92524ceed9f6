"""The picture of a run: how far each policy went towards the best that is possible, by gold and by proxy."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlhf_core.evaluation.plots.dumbbell import draw_dumbbells
from rlhf_core.evaluation.plots.label_layout import Point, Spot, along, place_labels
from rlhf_core.evaluation.plots.style import Palette, new_figure, title_legend, whiskers
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.statistics import Estimate


def draw_front(report: Report, palette: Palette) -> Figure | None:
    """Draw two objectives with gold on a plane with its oracle front. Otherwise one row per objective."""
    if not report.stages or not (report.stages[0].gold or report.stages[0].proxy):
        return None
    if len(report.objectives) == 2 and len(report.stages[0].gold) == 2:
        return _plane(report, palette)
    return draw_dumbbells(report, palette, headline(report))


def headline(report: Report) -> str:
    """Write the weights, and the way gone to the oracle where it is known."""
    weights = ", ".join(f"{name} {report.weights.get(name, 0):g}" for name in report.objectives)
    fraction = report.weighted.fraction if report.weighted else None
    if fraction is None:
        return f"weights: {weights}"
    gone = (
        f"{100 * fraction.value:.0f} % of the way to the oracle [{100 * fraction.low:.0f}, {100 * fraction.high:.0f}]"
    )
    return f"weights: {weights}   ·   {gone}"


def _plane(report: Report, palette: Palette) -> Figure:
    figure = new_figure(4.9)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.75, 1])
    axis = figure.add_subplot(grid[:, 0])
    side = [figure.add_subplot(grid[row, 1]) for row in range(2)]
    figure.suptitle(headline(report), x=0.012, ha="left", fontsize=11, color=palette.soft)
    x, y = report.objectives
    if report.front:
        _draw_oracle(axis, report, palette)
    path = [(stage.gold[x].value, stage.gold[y].value) for stage in report.stages]
    for index, stage in enumerate(report.stages):
        _draw_policy(axis, stage.gold[x], stage.gold[y], palette.stages[index % len(palette.stages)])
    for index in range(1, len(path)):
        arrow = {"arrowstyle": "-|>", "color": palette.ink, "shrinkA": 8, "shrinkB": 8, "linewidth": 1.3, "alpha": 0.7}
        axis.annotate("", path[index], path[index - 1], arrowprops=arrow)
    axis.set_title("Gold scores on held-out prompts")
    axis.set_xlabel(f"{x}  →  better")
    axis.set_ylabel(f"{y}  →  better")
    axis.margins(0.1, 0.12)
    for row, name in enumerate(report.objectives):
        _draw_change(side[row], report, name, palette, legend=row == 0, last=row == 1)
    figure.canvas.draw()
    _label(axis, report, palette)
    return figure


def _draw_oracle(axis: Axes, report: Report, palette: Palette) -> None:
    points = np.array(sorted(_front_points(report)))
    axis.plot(points[:, 0], points[:, 1], "--", color=palette.soft, linewidth=1.5, zorder=1)
    best = [report.oracle[name] for name in report.objectives]
    axis.plot(*best, marker="*", markersize=15, color=palette.ink, markeredgecolor=palette.paper, zorder=5)


def _front_points(report: Report) -> list[tuple[float, float]]:
    x, y = report.objectives
    return [(point.gold[x], point.gold[y]) for point in report.front]


def _draw_policy(axis: Axes, x: Estimate, y: Estimate, colour: str) -> None:
    axis.errorbar(
        x.value,
        y.value,
        xerr=whiskers(x),
        yerr=whiskers(y),
        color=colour,
        elinewidth=2,
        marker="o",
        markersize=9,
        zorder=4,
    )


def _label(axis: Axes, report: Report, palette: Palette) -> None:
    """Name every mark where the name covers no mark, cross, arrow or line."""
    x, y = report.objectives
    spots = []
    covered: list[Point] = []
    for index, stage in enumerate(report.stages):
        h, v = stage.gold[x], stage.gold[y]
        spots.append(Spot(stage.name, (h.value, v.value), palette.stages[index % len(palette.stages)]))
        covered += along([(h.low, v.value), (h.high, v.value)]) + along([(h.value, v.low), (h.value, v.high)])
    covered += along([spot.at for spot in spots])
    if report.front:
        front = sorted(_front_points(report))
        covered += along(front)
        spots.append(Spot("oracle at these weights", (report.oracle[x], report.oracle[y]), palette.ink))
        spots.append(Spot("oracle front", _loneliest(axis, front, [spot.at for spot in spots]), palette.soft))
    place_labels(axis, spots, covered)


def _loneliest(axis: Axes, points: list[Point], others: list[Point]) -> Point:
    """The point that lies farthest, as seen, from all the others."""
    pixels = axis.transData.transform
    gaps = np.linalg.norm(pixels(points)[:, None] - pixels(others)[None], axis=2).min(axis=1)
    return points[int(np.argmax(gaps))]


def _draw_change(axis: Axes, report: Report, name: str, palette: Palette, *, legend: bool, last: bool) -> None:
    """Gold and proxy of one objective, both as change from the first policy in reference sd, where that is known."""
    colour = palette.objectives[report.objectives.index(name) % len(palette.objectives)]
    steps = range(len(report.stages))
    known = report.gold_sd.get(name, 0.0)
    sd = known or 1.0
    gold = [stage.gold_change.get(name) for stage in report.stages]
    axis.axhline(0, color=palette.soft, linewidth=0.8)
    axis.fill_between(
        steps, [g.low / sd if g else 0 for g in gold], [g.high / sd if g else 0 for g in gold], color=colour, alpha=0.18
    )
    axis.plot(steps, [g.value / sd if g else 0 for g in gold], color=colour, marker="o", linewidth=2, label="gold")
    proxy = [stage.proxy.get(name) for stage in report.stages]
    if all(proxy):
        values = [p.value - (p.baseline or 0) for p in proxy if p]
        axis.plot(steps, values, "--", color=colour, marker="o", markerfacecolor=palette.paper, label="reward model")
    axis.set_title(name)
    axis.set_ylabel("change, ref. sd" if known else "change of gold", fontsize=9.5)
    axis.set_xticks(
        list(steps),
        [stage.name.removeprefix("after ").removesuffix(" training") for stage in report.stages] if last else [],
    )
    axis.margins(x=0.08, y=0.15)
    if legend:
        title_legend(axis, 2)
