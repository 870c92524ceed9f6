"""What the report opens with: what got better and worse, what that is worth, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlhf_core.evaluation.gains import SHIPPED, Gain
from rlhf_core.evaluation.prompt_changes import PromptChange
from rlhf_core.evaluation.report.gains_section import rewards_gain, verdict
from rlhf_core.evaluation.report.html import changes, decimal, table, text
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.statistics import Estimate

SIGNS = (("better", "Better"), ("worse", "Worse"), ("", "Not told from chance"))
LARGEST = "The largest first. Change: of the weighted score, in reference standard deviations."


def in_short(report: Report) -> str:
    """Write a list of a few sentences; nothing where one policy alone was evaluated."""
    lines = [*_moved(report), *_rewards(report), *_production(report), *_drifts(report)]
    advice = list(next_steps(report))
    if not lines:
        return ""
    todo = f"<p><b>Next:</b> {'; '.join(advice)}.</p>" if advice else ""
    return "<ul>" + "".join(f"<li>{line}</li>" for line in lines) + f"</ul>{todo}"


def _whole(report: Report) -> Gain | None:
    """From before training to the last policy, by the best judge."""
    last = report.stages[-1].name if report.stages else ""
    return next((gain for gain in report.gains if (gain.before, gain.after) == (SHIPPED, last)), None)


def _moved(report: Report) -> Iterator[str]:
    gain = _whole(report)
    if gain is None:
        return
    yield from _sides("than before training", gain.judge, gain.objectives)
    yield f"At these weights together: <b>{_signed(gain.weighted)}</b> reference sd, by {text(gain.judge)}."
    if found := report.changes:
        counts = f"{found.better} prompts answered better, {found.worse} worse, {found.same} the same"
        yield f"{counts}, by {text(found.judge)}."


def _sides(than: str, judge: str, objectives: dict[str, Estimate]) -> Iterator[str]:
    for side, told in SIGNS:
        names = [f"{text(name)} {_signed(one)}" for name, one in objectives.items() if _side(one) == side]
        if names:
            yield f"<b>{told}</b> {than if side else ''} by {text(judge)}: {', '.join(names)}.".replace("  ", " ")


def _side(estimate: Estimate) -> str:
    if estimate.low > 0:
        return "better"
    return "worse" if estimate.high < 0 else ""


def _signed(estimate: Estimate) -> str:
    sign = "+" if estimate.value > 0 else ""
    return f"{sign}{decimal(estimate.value)} [{decimal(estimate.low)}, {decimal(estimate.high)}]"


def _rewards(report: Report) -> Iterator[str]:
    if told := verdict(report):
        yield text(told)


def _production(report: Report) -> Iterator[str]:
    beside = report.production
    if beside is None:
        return
    than = f"than production ({text(beside.policy_version)})"
    yield from _sides(than, beside.judge, beside.objectives)
    total = f"together {_signed(beside.weighted)} reference sd" if beside.weighted else "together not measured"
    yield f"Against production, {total}, on {beside.prompts} prompts that both answered."


def _drifts(report: Report) -> Iterator[str]:
    for drift in report.stages[-1].drifts if report.stages else ():
        yield f"<b>Watch</b>: {text(str(drift))}."


def next_steps(report: Report) -> Iterator[str]:
    """Yield what somebody would do now, as commands where there is one."""
    run, whole = report.run_id.rpartition("-")[2], _whole(report)
    if report.ungated:
        yield f"measure the judge that nobody has measured, <code>charter label --gate --run {run}</code>"
    gain = rewards_gain(report)
    if gain is not None and not gain.is_shown:
        yield "see below whether the reward models are right on held-out pairs, before PPO is run longer"
    for name, change in (whole.objectives if whole else {}).items():
        if _side(change) == "worse" and report.weights.get(name, 0):
            more = ",".join(f"{n}={w * 2 if n == name else w:g}" for n, w in report.weights.items())
            turned = f"charter run --weights {more} -s from_run={run} -s start_at=ppo"
            yield f"if {text(name)} must not fall so far, give it more weight: <code>{text(turned)}</code>"
    if whole is not None and whole.is_shown and not report.ungated:
        version = report.stages[-1].policy_version
        yield f"look at the losses below; then <code>charter policies promote {text(version)}</code>"


def prompt_table(report: Report) -> str:
    """Write the prompts that lost most, then those that gained most, with both replies."""
    found = report.changes
    if found is None or not (found.worst or found.best):
        return ""
    said = (
        f"{found.better} of {found.better + found.same + found.worse} held-out prompts are answered better than before "
        f"training, {found.worse} worse, {found.same} alike, by {text(found.judge)}."
    )
    parts = [f"<p>{said}</p>"]
    for title, rows in (("Losses", found.worst), ("Gains", found.best)):
        parts += [f"<h3>{title}</h3>", _prompts(report.objectives, rows)] if rows else []
    return "".join(parts)


def _prompts(objectives: Sequence[str], rows: Sequence[PromptChange]) -> str:
    known = [name for name in objectives if any(name in row.objectives for row in rows)]
    cells = []
    for row in rows:
        before, after = changes(row.before, row.after)
        moved = [decimal(row.objectives[name]) if name in row.objectives else "–" for name in known]
        cells.append([text(row.prompt), before, after, decimal(row.change), *moved])
    return table(["prompt", "before", "after", "change", *map(text, known)], cells, LARGEST)
