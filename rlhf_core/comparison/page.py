"""The comparison as one page that needs nothing else."""

from __future__ import annotations

import io

import matplotlib
from matplotlib.figure import Figure

from rlhf_core.comparison.records import Measure, ObjectiveCurve, RunComparison
from rlhf_core.comparison.words import basis, headline, name_of, part_words
from rlhf_core.evaluation.plots.style import DARK, LIGHT, Palette, new_figure, style, title_legend
from rlhf_core.evaluation.report.html import changes, number, picture, section, stylesheet, table, text
from rlhf_core.evaluation.report.page import PAGE

REPLIES = 12
ROW_INCHES = 2.6


def comparison_page(found: RunComparison) -> str:
    """Return the whole page. All text of the runs is escaped; nothing is fetched."""
    names = [name_of(side) for side in (found.a, found.b)]
    head = ["", *map(text, names), "difference", ""]
    numbers = table(head, [_row(measure) for measure in found.measures], _note(found))
    settings = [[text(key), text(a), text(b)] for key, (a, b) in found.settings.items()]
    replies = "".join(_pair(pair.prompt, pair.a, pair.b, names) for pair in found.replies[:REPLIES])
    light, dark = (_drawn(found.curves, names, palette) for palette in (LIGHT, DARK))
    curves = picture(light, dark, "Watched held-out prompts.")
    parts = [
        f"<header><h1>{text(names[0])} and {text(names[1])}</h1><p>{text(found.a.run_id)}, policy "
        f"{text(found.a.policy_version)}; {text(found.b.run_id)}, policy {text(found.b.policy_version)}</p></header>",
        section("In short", _verdict(found)),
        section("At the end", numbers),
        section("Over PPO", curves),
        section("Settings that differ", table(["", *map(text, names)], settings) if settings else "<p>None.</p>"),
        section("Replies, the most different first", replies),
    ]
    css = stylesheet()
    return PAGE.format(title=text(f"Charter: {names[0]} and {names[1]}"), css=css, body="".join(parts))


def _verdict(found: RunComparison) -> str:
    """The sentence that answers the question, then what it stands on."""
    told = f"<p><b>{text(headline(found))}</b></p>"
    if found.verdict is None:
        return told
    parts = "".join(f"<li>{text(part_words(part))}</li>" for part in found.verdict.parts)
    return f"{told}<ul>{parts}</ul><p>{text(basis(found.verdict))}</p>"


def _note(found: RunComparison) -> str:
    prompts = f"{found.a.prompts} and {found.b.prompts} held-out prompts, {found.shared_prompts} of them the same"
    told = "all numbers are of these, where a note says nothing else; differences are the second less the first"
    return text(f"{prompts}: {told}, paired by prompt, with 95 % intervals.")


def _row(measure: Measure) -> list[str]:
    cells = [number(measure.a), number(measure.b), number(measure.difference)]
    return [text(measure.name), *cells, text(measure.note)]


def _pair(prompt: str, a: str, b: str, names: list[str]) -> str:
    left, right = changes(a, b)
    return f"<h3>{text(prompt)}</h3>" + table(list(map(text, names)), [[left, right]])


def _drawn(curves: tuple[ObjectiveCurve, ...], names: list[str], palette: Palette) -> bytes | None:
    """A row of pictures for each objective, a column for each judge; none without curves."""
    if not curves:
        return None
    with matplotlib.rc_context(style(palette)):
        figure = _figure(curves, names, palette)
        target = io.BytesIO()
        figure.savefig(target, format="png")
        return target.getvalue()


def _figure(curves: tuple[ObjectiveCurve, ...], names: list[str], palette: Palette) -> Figure:
    figure = new_figure(ROW_INCHES * ((len(curves) + 1) // 2))
    for place, curve in enumerate(curves, start=1):
        axis = figure.add_subplot((len(curves) + 1) // 2, min(2, len(curves)), place)
        axis.set_title(f"{curve.objective}, {curve.judge}")
        for points, name, colour in zip((curve.a, curve.b), names, palette.stages[1:], strict=False):
            axis.plot([p.step for p in points], [p.value for p in points], marker="o", color=colour, label=name)
        axis.set_xlabel("PPO step")
        title_legend(axis, 2)
    return figure
