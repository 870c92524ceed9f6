"""The look of the pictures, the training curves and the harm bars. Drawn with Agg; no window, no global state."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from rlhf_core.evaluation.overoptimization import Goodhart
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.run_summary import Curve
from rlhf_core.evaluation.statistics import Estimate

DPI = 180
WIDTH = 9.6
"""Inches; shown 800 pixels wide, 11 points come out at about 12 pixels."""


class Palette(NamedTuple):
    paper: str
    ink: str
    soft: str
    grid: str
    stages: tuple[str, ...]
    """From the shipped model to the last policy; told apart by the colour-blind too."""
    objectives: tuple[str, ...]


LIGHT = Palette(
    "#ffffff",
    "#1c2430",
    "#667085",
    "#e4e7ec",
    ("#8a94a6", "#e08a1e", "#2457c5", "#7a3fb0"),
    ("#0f8b8d", "#b5387a", "#6b7f1e", "#8a5a2b", "#4059ad", "#c0392b"),
)
DARK = Palette(
    "#161b22",
    "#e6eaf0",
    "#98a2b3",
    "#2c343f",
    ("#9aa5b8", "#f2a541", "#6ea0ff", "#c497f2"),
    ("#3cc4c0", "#ee7fb4", "#b3cc56", "#d9a066", "#8ea2f5", "#f08a7c"),
)


def style(palette: Palette) -> dict[Any, Any]:
    """Return matplotlib's settings for one palette."""
    return {
        "figure.facecolor": palette.paper,
        "axes.facecolor": palette.paper,
        "savefig.facecolor": palette.paper,
        "savefig.dpi": DPI,
        "text.color": palette.ink,
        "axes.labelcolor": palette.soft,
        "axes.edgecolor": palette.grid,
        "axes.titlecolor": palette.ink,
        "axes.titlelocation": "left",
        "axes.titlesize": 11.5,
        "axes.titleweight": "bold",
        "axes.titlepad": 9,
        "axes.labelsize": 10.5,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": palette.grid,
        "grid.linewidth": 0.8,
        "xtick.color": palette.soft,
        "ytick.color": palette.soft,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 10,
        "font.family": "DejaVu Sans",
        "font.size": 10.5,
        "lines.solid_capstyle": "round",
    }


def png(draw: Callable[[Report, Palette], Figure | None], report: Report, palette: Palette) -> bytes | None:
    """Draw one picture as PNG bytes; none when the report holds nothing to draw."""
    with matplotlib.rc_context(style(palette)):
        figure = draw(report, palette)
        if figure is None:
            return None
        target = io.BytesIO()
        figure.savefig(target, format="png")
        return target.getvalue()


def new_figure(height: float) -> Figure:
    figure = Figure(figsize=(WIDTH, height), dpi=DPI)
    FigureCanvasAgg(figure)
    engine = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1, wspace=0.04, hspace=0.06)
    figure.set_layout_engine(engine)
    return figure


def title_legend(axis: Axes, entries: int) -> None:
    """Put a legend on the title's line, at the right, where no data can be under it."""
    axis.legend(
        loc="lower right",
        bbox_to_anchor=(1.01, 1.0),
        ncols=entries,
        borderaxespad=0.2,
        handlelength=1.8,
        columnspacing=1.2,
    )


def whiskers(estimate: Estimate) -> list[list[float]]:
    """Return the distances from the value down and up to the ends of its interval, as matplotlib wants them."""
    return [[max(0.0, estimate.value - estimate.low)], [max(0.0, estimate.high - estimate.value)]]


class Panel(NamedTuple):
    title: str
    unit: str
    lines: Mapping[str, Curve]
    """By objective, or by the empty name for a number that belongs to all."""
    rings: Mapping[str, Curve]
    """The same numbers on held-out prompts, where they were measured."""


def draw_curves(report: Report, palette: Palette) -> Figure | None:
    """Draw PPO over its steps, from these names: reward, kl, z.<objective>, heldout_z.<objective>, gold.<objective>."""
    ppo = {curve.name: curve for curve in report.curves if curve.stage == "ppo"}
    names, unit = report.objectives, "reference sd"
    everything = [
        Panel("Reward, weighted", unit, _single(ppo, "reward"), {}),
        Panel("KL from the reference", "nats per response", _single(ppo, "kl"), {}),
        Panel("Reward models", unit, _by_objective(ppo, "z.", names), _by_objective(ppo, "heldout_z.", names)),
        Panel("Gold, held out", "gold", _by_objective(ppo, "gold.", names), {}),
    ]
    panels = [panel for panel in everything if panel.lines]
    count = len(panels) + bool(report.climb)
    if not count:
        return None
    rows = (count + 1) // 2
    figure = new_figure(0.5 + 2.55 * rows)
    axes = figure.subplots(rows, min(2, count), squeeze=False).flatten().tolist()
    for axis in axes[count:]:
        axis.remove()
    if report.climb:
        _draw_climb(axes.pop(0), report.climb, palette)
    for axis, panel in zip(axes, panels, strict=False):
        _draw_panel(axis, panel, names, palette)
    return figure


def _draw_climb(axis: Axes, climb: Goodhart, palette: Palette) -> None:
    """The weighted gain of every judge on held-out prompts, by step, with its interval."""
    steps = [point.step for point in climb.points]
    judges = (("proxy", "reward model", 1), ("auditor", "auditor", 3), ("gold", "gold", 2))
    for name, title, place in judges:
        found = [estimate for point in climb.points if (estimate := getattr(point, name)) is not None]
        if len(found) == len(steps):
            colour = palette.stages[place]
            axis.plot(steps, [e.value for e in found], color=colour, linewidth=2, marker="o", markersize=4, label=title)
            axis.fill_between(steps, [e.low for e in found], [e.high for e in found], color=colour, alpha=0.15)
    axis.axhline(0, color=palette.soft, linewidth=0.8)
    title_legend(axis, 3)
    axis.margins(x=0.02, y=0.12)
    axis.set_title("Held out, weighted")
    axis.set_ylabel("gain, reference sd")
    axis.set_xlabel("PPO step (bands: 95 %)")


def _single(curves: dict[str, Curve], name: str) -> dict[str, Curve]:
    return {"": curves[name]} if name in curves else {}


def _by_objective(curves: dict[str, Curve], prefix: str, objectives: Sequence[str]) -> dict[str, Curve]:
    return {name: curves[prefix + name] for name in objectives if prefix + name in curves}


def _draw_panel(axis: Axes, panel: Panel, objectives: Sequence[str], palette: Palette) -> None:
    for name, curve in panel.lines.items():
        colour = palette.objectives[objectives.index(name) % len(palette.objectives)] if name else palette.stages[2]
        marker = "o" if len(curve.steps) <= 20 else None
        axis.plot(curve.steps, curve.values, color=colour, linewidth=2, marker=marker, markersize=4.5, label=name)
        if name in panel.rings:
            ring = panel.rings[name]
            axis.plot(ring.steps, ring.values, "o", color=colour, markerfacecolor=palette.paper, markersize=6)
    if any(panel.lines):
        title_legend(axis, len(panel.lines))
    axis.margins(x=0.02, y=0.12)
    axis.set_title(panel.title)
    axis.set_ylabel(panel.unit)
    axis.set_xlabel("PPO step (rings: held-out prompts)" if panel.rings else "PPO step")


def draw_harm(report: Report, palette: Palette) -> Figure | None:
    """Draw mean harm per answer by kind, a bar for each policy; the shipped model's most harmful kind first."""
    if not report.stages or not report.stages[0].harm_by_kind:
        return None
    first = report.stages[0].harm_by_kind
    kinds = sorted(first, key=lambda kind: first[kind].value, reverse=True)
    count = len(report.stages)
    figure = new_figure(1.1 + 0.26 * (count + 1) * len(kinds))
    axis = figure.subplots()
    size = 0.8 / count
    for index, stage in enumerate(report.stages):
        colour = palette.stages[index % len(palette.stages)]
        for row, kind in enumerate(kinds):
            estimate, y = stage.harm_by_kind[kind], row + (index - (count - 1) / 2) * size
            axis.barh(y, estimate.value, height=size * 0.86, color=colour, label=stage.name if row == 0 else None)
            axis.errorbar(estimate.value, y, xerr=whiskers(estimate), color=palette.ink, elinewidth=1, alpha=0.75)
            axis.annotate(
                f"{estimate.value:.2f}", (estimate.high, y), (5, 0), textcoords="offset points", va="center", fontsize=9
            )
    axis.set_yticks(range(len(kinds)), kinds, color=palette.ink)
    axis.set_ylim(len(kinds) - 0.5, -0.5)
    axis.grid(False, axis="y")
    axis.margins(x=0.08)
    axis.set_xlim(left=0)
    axis.set_xlabel("mean harm per answer on held-out prompts, lower is better (thin lines: 95 % interval)")
    figure.legend(loc="outside upper left", ncols=count, handlelength=1)
    return figure
