"""How replies sound and change: tables for the page, of every policy and of every round of revision."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rlhf_core.evaluation.evaluate import StageEvaluation
from rlhf_core.evaluation.monitors import Monitors
from rlhf_core.evaluation.report.html import decimal, number, table, text
from rlhf_core.evaluation.run_summary import FeedbackSummary
from rlhf_core.text_detectors import BENIGN, HARMFUL

NOTE = (
    "Five words: the share of replies that hold the run of five words that most replies share. "
    "Distinct pairs: distinct pairs of words over all pairs. "
    "Length: median over prompts of the words for each word of the first policy."
)


def manner(stages: Sequence[StageEvaluation]) -> str:
    """Write length, refusals, apologies, lectures and boilerplate of every policy; empty without policies."""
    if not stages:
        return ""
    head = ["policy", "length<br><small>tokens</small>", "cut at the limit", "refusals"]
    rows = [
        [
            text(stage.name),
            number(stage.length, 1),
            number(stage.unfinished, 1, percent=True),
            number(stage.refusals, 1, percent=True),
        ]
        for stage in stages
    ]
    heard = [stage.monitors for stage in stages if stage.monitors]
    if len(heard) == len(stages):
        for title, cell in _columns(heard):
            head.append(title)
            for row, monitors in zip(rows, heard, strict=True):
                row.append(cell(monitors))
    for row, stage in zip(rows, stages, strict=True):
        row += [str(stage.n_prompts), str(stage.n_samples)]
    return table([*head, "prompts", "answers"], rows, NOTE if heard else "") + _drifted(stages)


def rounds(feedback: FeedbackSummary | None) -> str:
    """Write what each round of critique and revision did, and how it changed the length."""
    rows = [
        [
            str(one.round + 1),
            f"{one.critiques.total:,}",
            f"{one.critiques.complies:,}",
            f"{one.critiques.accepted:,}",
            f"{sum(one.critiques.rejected.values()):,}",
            decimal(one.length_ratio.median) if one.length_ratio else number(None),
            decimal(one.length_ratio.p90) if one.length_ratio else number(None),
        ]
        for one in (feedback.rounds if feedback else ())
    ]
    head = ["round", "critiques", "complied", "revised", "rejected", "length<br><small>median</small>"]
    note = "Length: words of an accepted revision for each word of what it mends."
    return table([*head, "length<br><small>90 % below</small>"], rows, note) if rows else ""


def _columns(heard: Sequence[Monitors]) -> list[tuple[str, Callable[[Monitors], str]]]:
    columns: list[tuple[str, Callable[[Monitors], str]]] = [
        (f"refusals<br><small>{kind} prompts</small>", lambda m, kind=kind: _refusals(m, kind))
        for kind in (BENIGN, HARMFUL)
        if any(kind in monitors.openings for monitors in heard)
    ]
    columns += [
        ("opens with an apology", lambda m: number(m.openings["all"].apology_starts, 1, percent=True)),
        ("lectures", lambda m: number(m.lectures, 1, percent=True)),
        ("five words", _top_gram),
        ("distinct pairs", lambda m: decimal(m.distinct_2)),
    ]
    if any(monitors.length_ratio for monitors in heard):
        columns.append(("length<br><small>ratio</small>", _ratio))
    return columns


def _refusals(monitors: Monitors, kind: str) -> str:
    openings = monitors.openings.get(kind)
    return number(openings.refusals if openings else None, 1, percent=True)


def _top_gram(monitors: Monitors) -> str:
    words = f"<br><small>{text(monitors.top_gram)}</small>" if monitors.top_gram else ""
    return number(monitors.top_gram_share, 1, percent=True) + words


def _ratio(monitors: Monitors) -> str:
    return decimal(monitors.length_ratio.median) if monitors.length_ratio else number(None)


def _drifted(stages: Sequence[StageEvaluation]) -> str:
    items = "".join(f"<li>{text(stage.name)}: {text(drift)}</li>" for stage in stages for drift in stage.drifts)
    return f"<ul>{items}</ul>" if items else ""
