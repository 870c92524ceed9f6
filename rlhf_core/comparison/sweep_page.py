"""A sweep as one page that needs nothing else: the front, every run, and what each setting did."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from rlhf_core.comparison.sweep import Cell, Sweep
from rlhf_core.evaluation.plots.style import DARK, LIGHT, Palette, new_figure, style, title_legend, whiskers
from rlhf_core.evaluation.report.html import decimal, number, picture, section, stylesheet, table, text
from rlhf_core.evaluation.report.page import PAGE

HEIGHT = 4.6
SHAPES = {"o": "circle", "s": "square", "D": "diamond", "^": "triangle", "v": "wedge", "P": "plus", "X": "cross"}
FRONT = (
    "Each point is a run's last policy on held-out prompts, with 95 % intervals over prompts. Filled: no other run is "
    "at least as good at everything and better at something."
)
EFFECTS = (
    "Each value against the setting's first, all else being the same. The interval is over prompts; over runs is half "
    "the 95 % interval over the pairs of runs that differ in this alone. noise: one of them reaches 0."
)
TRENDS = "Rank correlations over runs that differ in several settings at once; p by permutation."


def sweep_page(found: Sweep) -> str:
    """Return the whole page. All text of the runs is escaped; nothing is fetched."""
    front = picture(_drawn(found, LIGHT), _drawn(found, DARK), f"{FRONT} {_legend(found)}".strip())
    varied = ", ".join(f"{key} ({', '.join(values)})" for key, values in found.varied.items())
    parts = [
        f"<header><h1>Sweep {text(found.name)}</h1><p>{text(varied)}</p></header>",
        section("The front", front),
        section("Runs", _runs(found), _unfinished(found)),
        section("What each setting did", _effects(found), _trends(found), _noise(found)),
    ]
    return PAGE.format(title=text(f"Charter: sweep {found.name}"), css=stylesheet(), body="".join(parts))


def _runs(found: Sweep) -> str:
    measures = list(dict.fromkeys(name for cell in found.cells for name in cell.measures))
    head = ["run", *map(text, found.varied), *map(text, measures), "on the front"]
    rows = [
        [
            text(cell.run_id.rpartition("-")[2]),
            *(text(cell.settings[key]) for key in found.varied),
            *(number(cell.measures.get(name)) for name in measures),
            "yes" if cell.on_front else "",
        ]
        for cell in found.cells
    ]
    return table(head, rows) if rows else "<p>No run has ended yet.</p>"


def _unfinished(found: Sweep) -> str:
    rows = [[text(run.rpartition("-")[2]), text(state)] for run, state in found.unfinished.items()]
    return table(["run", "no numbers, as it is"], rows) if rows else ""


def _effects(found: Sweep) -> str:
    rows = [
        [
            text(effect.setting),
            text(f"{effect.before} → {effect.after}"),
            text(effect.measure),
            number(effect.difference),
            "–" if effect.spread is None else f"± {decimal(effect.spread)}, {effect.pairs} pairs",
            text(effect.verdict),
        ]
        for effect in found.effects
    ]
    return table(["setting", "value", "measure", "difference", "over runs", ""], rows, EFFECTS) if rows else ""


def _trends(found: Sweep) -> str:
    rows = [
        [text(one.setting), text(one.measure), decimal(one.correlation), decimal(one.p, 3), str(one.runs)]
        for one in found.trends
    ]
    return table(["setting", "measure", "correlation", "p", "runs"], rows, TRENDS) if rows else ""


def _noise(found: Sweep) -> str:
    if not found.seed_noise:
        return "<p>How far runs differ by their seed alone was not measured: sweep the seed too.</p>"
    rows = [[text(name), decimal(sd, 3)] for name, sd in found.seed_noise.items()]
    return table(["measure", "sd between seeds, all else the same"], rows)


def _drawn(found: Sweep, palette: Palette) -> bytes | None:
    """The runs in the plane of the first two objectives; none where fewer are measured."""
    if len(found.objectives) < 2 or not found.cells:
        return None
    with matplotlib.rc_context(style(palette)):
        target = io.BytesIO()
        _figure(found, palette).savefig(target, format="png")
        return target.getvalue()


def _figure(found: Sweep, palette: Palette) -> Figure:
    x, y = found.objectives[:2]
    figure = new_figure(HEIGHT)
    axis = figure.add_subplot()
    first, *rest = found.varied or {"": ()}
    colours = dict(zip(found.varied.get(first, ()), _cycle(palette), strict=False))
    shapes = _shapes(found)
    named: set[str] = set()
    for cell in found.cells:
        value = cell.settings.get(first, "")
        label = f"{first} {value}" if value not in named else None
        named.add(value)
        shape = shapes.get(cell.settings.get(rest[0], ""), "o") if rest else "o"
        _point(axis, cell, x, y, colours.get(value, palette.ink), shape, label, palette)
    best = sorted((cell.measures[x].value, cell.measures[y].value) for cell in found.cells if cell.on_front)
    axis.plot(*zip(*best, strict=True), "--", color=palette.soft, linewidth=1.3, zorder=1)
    axis.set_xlabel(f"{x}  →  better")
    axis.set_ylabel(f"{y}  →  better")
    axis.margins(0.12)
    title_legend(axis, min(4, max(1, len(named))))
    return figure


def _shapes(found: Sweep) -> dict[str, str]:
    """Value of the second setting -> marker."""
    _, *rest = found.varied or {"": ()}
    return dict(zip(found.varied[rest[0]] if rest else (), SHAPES, strict=False))


def _legend(found: Sweep) -> str:
    """What the shapes stand for; colours have a legend in the picture."""
    shapes = ", ".join(f"{SHAPES[marker]} {value}" for value, marker in _shapes(found).items())
    return f"Shapes are {list(found.varied)[1]}: {shapes}." if shapes else ""


def _cycle(palette: Palette) -> tuple[str, ...]:
    return (*palette.stages[1:], *palette.objectives)


def _point(
    axis: Axes, cell: Cell, x: str, y: str, colour: str, shape: str, label: str | None, palette: Palette
) -> None:
    a, b = cell.measures[x], cell.measures[y]
    axis.errorbar(
        a.value,
        b.value,
        xerr=whiskers(a),
        yerr=whiskers(b),
        fmt=shape,
        color=colour,
        markerfacecolor=colour if cell.on_front else palette.paper,
        markersize=8,
        linewidth=1,
        alpha=0.9,
        label=label,
    )
