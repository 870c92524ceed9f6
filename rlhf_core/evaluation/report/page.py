"""The report as one page that needs nothing else: style, pictures and text are all inside it."""

from __future__ import annotations

import re
from collections.abc import Mapping

from rlhf_core.evaluation.evaluate import WeightedEvaluation
from rlhf_core.evaluation.report.gains_section import gains_table, seen_table
from rlhf_core.evaluation.report.html import (
    changes,
    contents,
    decimal,
    number,
    picture,
    section,
    stylesheet,
    table,
    text,
)
from rlhf_core.evaluation.report.judge_section import judges
from rlhf_core.evaluation.report.overoptimization_section import best_of_n_table, goodhart_table
from rlhf_core.evaluation.report.record import Report
from rlhf_core.evaluation.report.reward_section import reward_tables
from rlhf_core.evaluation.report.style_section import manner, rounds
from rlhf_core.evaluation.report.verdict_section import in_short, prompt_table
from rlhf_core.evaluation.rule_violations import rule_table
from rlhf_core.evaluation.run_summary import CritiqueCounts, Example, ExampleStep
from rlhf_core.evaluation.statistics import Estimate

Pictures = Mapping[str, tuple[bytes | None, bytes | None]]
"""Name -> PNG for light paper and PNG for dark paper."""
NONE = (None, None)

FRACTION = (
    "Fraction: (last − first) / (oracle − first). The oracle gives the best of all answers that the world allows."
)
VERDICT = re.compile(r"\s*verdict:\s*(complies|borderline|violates)[\s.,:;]*", re.IGNORECASE)
IN_PPO = re.compile(r"weights from PPO step ")
"""Of a report's provenance."""
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>{css}</style>
</head>
<body><main>{body}</main></body>
</html>
"""


def render_html(report: Report, pictures: Pictures) -> str:
    """Render the whole page. All text of the run is escaped; nothing is fetched."""
    parts = [
        section("In short", in_short(report)),
        section(
            "Before and after",
            *(picture(*pictures["front"], _caption(report)), _scores(report), manner(report.stages)),
            rule_table(report.rules),
        ),
        section("What moved the policy", gains_table(report), seen_table(report)),
        section("Prompts that gained and lost", prompt_table(report)),
        section("The way to the oracle", _weighted(report)),
        section("Harm by kind", picture(*pictures["harm"], "Mean harm per answer by kind, on held-out prompts.")),
        section("Training", picture(*pictures["curves"], "PPO, step by step."), reward_tables(report.reward_models)),
        section(
            "Does a higher score still mean better?",
            picture(*pictures.get("goodhart", NONE), "What the score gained, and what it is worth."),
            goodhart_table(report.goodhart),
            picture(*pictures.get("best_of_n", NONE), "Best of n, before PPO."),
            best_of_n_table(report.best_of),
        ),
        section("Conversations", *(_example(example) for example in report.examples)),
        section("Feedback", _critiques(report), rounds(report.feedback), *_labelling(report)),
        section("What the built-in model can do", _skills(report)),
        section("Provenance", _provenance(report)),
    ]
    body = _header(report) + contents(parts) + "".join(parts)
    return PAGE.format(title=text(f"Charter run {report.run_id}"), css=stylesheet(), body=body)


def _labelling(report: Report) -> tuple[str, ...]:
    return _labels(report), _judges(report), _endpoints(report)


def _header(report: Report) -> str:
    weights = ", ".join(f"{text(name)} {report.weights.get(name, 0):g}" for name in report.objectives)
    held = [
        f"{name.removeprefix('weights ')} {text(told)}"
        for name, told in report.provenance.items()
        if IN_PPO.match(name)
    ]
    weighing = ", ".join(f"{text(name)} {weight:g}" for name, weight in report.weights.items() if weight)
    same = [[f"from PPO step 1 {told}"] for told in (weights, weighing)]
    turned = f" ({'; '.join(held)})" if held and held not in same else ""
    constitution = report.constitution
    badge = f'<p class="badge">{text(report.capability)}</p>' if report.capability else ""
    caveats = "".join(f"<p>{text(caveat)}</p>" for caveat in report.caveats)
    return (
        f"<header>{badge}<h1>Charter run <code>{text(report.run_id)}</code></h1>"
        f'<p class="lead">{text(report.base_model)} under <em>{text(constitution.title or constitution.id)}</em> '
        f"{text(constitution.version)}, weights {weights}{turned}, seed {report.seed}. {text(report.created_at)}</p>"
        f"{_tiles(report)}{f'<aside>{caveats}</aside>' if caveats else ''}</header>"
    )


def _tiles(report: Report) -> str:
    tiles = []
    fraction = report.weighted.fraction if report.weighted else None
    if fraction:
        spread = f"{100 * fraction.low:.0f} to {100 * fraction.high:.0f} %, n = {fraction.n}"
        tiles.append((f"{100 * fraction.value:.0f}<small> %</small>", "of the way to the oracle", spread))
    if report.stages:
        last = report.stages[-1]
        for name, estimate in (last.gold or last.proxy).items():
            kind = "gold" if last.gold else "reward model"
            before = f"<small>{decimal(estimate.baseline)} → </small>" if estimate.baseline is not None else ""
            tiles.append((before + decimal(estimate.value), f"{name}, {kind}", _interval(estimate)))
    minutes, seconds = divmod(round(report.wall_seconds), 60)
    memory = f"{report.peak_memory_mb:,.0f} MB at peak, of the last process"
    tiles.append((f"{minutes}<small> min</small> {seconds:02d}<small> s</small>", "wall time", memory))
    cells = (f"<div><dd>{value}</dd><dt>{text(name)}</dt><p>{text(note)}</p></div>" for value, name, note in tiles)
    return f'<dl class="tiles">{"".join(cells)}</dl>'


def _interval(estimate: Estimate) -> str:
    return f"{decimal(estimate.low)} to {decimal(estimate.high)}, n = {estimate.n}"


def _caption(report: Report) -> str:
    first = report.stages[0] if report.stages else None
    drawn = f"at temperature {report.temperature:g}" if report.temperature else "greedy"
    count = f"{first.n_prompts} held-out prompts, {first.n_samples} answers per policy, {drawn}. " if first else ""
    return count + "Crosses and bands are 95 % intervals, resampled by prompt."


def _scores(report: Report) -> str:
    if not report.stages:
        return ""
    head, rows = ["policy"], [[text(stage.name)] for stage in report.stages]
    for kind, label in (("gold", "gold"), ("gold_change", "change"), ("proxy", "reward model, z")):
        for name in report.objectives:
            column = [getattr(stage, kind).get(name) for stage in report.stages]
            if any(column):
                head.append(f"{text(name)}<br><small>{label}</small>")
                for row, cell in zip(rows, column, strict=True):
                    row.append(number(cell))
    return table(head, rows, "z: standard deviations of the reference policy's scores. Change: paired by prompt.")


def _weighted(report: Report) -> str:
    measured = [weighted for weighted in (report.weighted, report.weighted_raw) if weighted]
    if not measured:
        return ""
    head = ["units", *(text(name) for name in measured[0].stages), "oracle", "fraction"]
    rows = [_weighted_row(weighted) for weighted in measured]
    weights = " and ".join(f"{report.weights.get(name, 0):g} × {text(name)}" for name in report.objectives)
    return table(head, rows, f"Weighted gold: {weights}, over the sum of weights. {FRACTION}")


def _weighted_row(weighted: WeightedEvaluation) -> list[str]:
    numbers = [number(estimate) for estimate in (*weighted.stages.values(), weighted.oracle)]
    return [text(weighted.units), *numbers, number(weighted.fraction, 1, percent=True)]


def _example(example: Example) -> str:
    steps = "".join(_step(step) for step in example.steps)
    final = f"<h4>final policy answers</h4>{_plain(example.final)}" if example.final else ""
    return (
        f'<article class="talk"><p class="prompt">{text(example.prompt)}</p>'
        f"<h4>first answer</h4>{_plain(example.first)}{steps}{final}</article>"
    )


def _plain(value: str) -> str:
    return f'<div class="answer">{text(value)}</div>'


def _step(step: ExampleStep) -> str:
    outcome = "revised" if step.accepted else step.reason.replace("_", " ") or "kept"
    head = (
        f'<p class="critique"><span class="verdict {text(step.verdict)}">{text(step.verdict)}</span> '
        f"<b>{text(step.principle)}</b> {text(VERDICT.sub('', step.critique, count=1))} "
        f"<i>{'' if outcome == step.verdict else text(outcome)}</i></p>"
    )
    if step.after == step.before:
        return f'<div class="step">{head}</div>'
    before, after = changes(step.before, step.after)
    kind = "sides" if step.accepted else "sides rejected"
    return f'<div class="step">{head}<div class="{kind}"><div>{before}</div><div>{after}</div></div></div>'


def _critiques(report: Report) -> str:
    if report.feedback is None:
        return ""
    rows = [[text(p.title), *_counts(p.critiques), f"{p.votes:,}"] for p in report.feedback.principles]
    rows.append(["all", *_counts(report.feedback.critiques), f"{report.feedback.votes:,}"])
    return table(["principle", "critiques", "complied", "revised", "rejected", "votes"], rows)


def _counts(counts: CritiqueCounts) -> list[str]:
    reasons = ", ".join(f"{text(reason)} {count}" for reason, count in counts.rejected.items())
    rejected = f"{sum(counts.rejected.values())} <small>{reasons}</small>"
    return [f"{counts.total:,}", f"{counts.complies:,}", f"{counts.accepted:,}", rejected]


def _labels(report: Report) -> str:
    if report.feedback is None:
        return ""
    rows = []
    for name, labels in report.feedback.labels.items():
        reasons = ", ".join(f"{text(reason)} {count}" for reason, count in labels.abstained.items())
        abstained = f"{sum(labels.abstained.values())} <small>{reasons}</small>"
        gap = number(labels.position_gap, 3)
        rows.append([text(name), f"{labels.ai:,}", f"{labels.human:,}", f"{labels.ties:,}", abstained, gap])
    head = ["labels", "by AI", "by people", "ties", "abstained", "position gap"]
    note = "Position gap: mean difference of the judge's probability between the two orders shown."
    return table(head, rows, note) if rows else ""


def _endpoints(report: Report) -> str:
    rows = [
        [
            *(text(stage), f"{used.requests:,}", f"{used.retries:,}", f"{used.prompt_tokens:,}"),
            *(f"{used.completion_tokens:,}", f"{used.unmetered:,}", f"{used.cost:,.4f}"),
        ]
        for stage, used in report.endpoints.items()
    ]
    head = ["endpoints", "requests", "retries", "prompt tokens", "answer tokens", "without a count", "cost"]
    return table(head, rows, "Cost by the configured prices; answers without a count are in no sum.") if rows else ""


def _judges(report: Report) -> str:
    told = report.feedback
    return judges(told.gates, told.calibrations, told.panel) if told else ""


def _skills(report: Report) -> str:
    if report.sandbox is None:
        return ""
    skills = report.sandbox
    named = {"answer": skills.answer, "critique": skills.critique}
    named |= {"revision": skills.revision} if skills.revision else {}
    named |= {f"judge, {name}": value for name, value in skills.judge.items()}
    rows = [[text(name), number(value, 1, percent=True), f"{value.n:,}"] for name, value in named.items()]
    if skills.critique_unseen:
        rows.append(
            ["critique, combinations never trained on", number(skills.critique_unseen), f"{skills.critique_unseen.n:,}"]
        )
    for name, gap in skills.position_gap.items():
        rows.append([f"position gap of the judge, {name}", number(gap, 3), f"{gap.n:,}"])
    return table(["skill", "score", "n"], rows, "On items held out of each skill's own training.")


def _provenance(report: Report) -> str:
    facts = {"constitution": f"{report.constitution.id} {report.constitution.version} {report.constitution.hash}"}
    facts |= report.provenance
    if report.norm_pack:
        facts["norm pack"] = f"{report.norm_pack.id}, {report.norm_pack.n} samples of {report.norm_pack.policy_version}"
    facts |= {f"data: {name}": f"{count:,}" for name, count in report.data.items()}
    facts |= {f"seconds: {name}": f"{seconds:.1f}" for name, seconds in report.stage_seconds.items()}
    return table(["what", "which"], [[text(name), f"<code>{text(value)}</code>"] for name, value in facts.items()])
