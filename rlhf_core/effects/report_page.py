"""The effect report as one page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.constitution.diff import Change, ConstitutionDiff, Edit, Version
from rlhf_core.effects.report import EffectReport, FlippedPair, ObjectiveEffect
from rlhf_core.evaluation.paired import Agreement
from rlhf_core.evaluation.report.html import decimal, number, section, stylesheet, table, text
from rlhf_core.evaluation.report.page import PAGE

MARKS = {"same": "{}", "gone": "<del>{}</del>", "new": "<ins>{}</ins>"}
DIRECTIONS = {"gold": "the better reply by gold", "chosen": "the chosen reply", "longer": "the longer reply"}


def render_effects(report: EffectReport) -> str:
    """Return the whole page. All text of constitutions, prompts and replies is escaped; nothing is fetched."""
    parts = [
        _header(report),
        section("The edit", _edit(report.diff)),
        section("The bill", _bill(report)),
        section("Labels", _labels(report.objectives), _truth(report.objectives), _tags(report.objectives)),
        section("Which principle did it", _edits(report), _roles(report)),
        section("Do the principles agree?", _agreement(report.agreement)),
        section("Labels that flipped furthest", *map(_flipped, report.flipped)),
        section("Provenance", _provenance(report)),
    ]
    css = stylesheet()
    title = f"Effects: {_name(report.diff.before)} to {_name(report.diff.after)}"
    return PAGE.format(title=text(title), css=css, body="".join(parts))


def _name(version: Version) -> str:
    return f"{version.source or version.id} {version.version}"


def _header(report: EffectReport) -> str:
    tiles = []
    for effect in report.objectives:
        share = f"<b>{effect.flips}</b> of {effect.n} labels flip; judged again without the edit: {effect.noise_flips}"
        tiles.append(f"<div><dd>{text(effect.finding)}</dd><dt>{text(effect.objective)}</dt><p>{share}</p></div>")
    notes = "".join(f"<p>{text(note)}</p>" for note in report.notes)
    return (
        f"<header><h1>Effects of an edit</h1><p class='lead'>{text(_name(report.diff.before))} → "
        f"{text(_name(report.diff.after))}, {report.probes.n} pairs, judge {text(report.judging.judge)}</p>"
        f'<dl class="tiles">{"".join(tiles)}</dl>{f"<aside>{notes}</aside>" if notes else ""}</header>'
    )


def _edit(diff: ConstitutionDiff) -> str:
    rows = [["added", text(name), ""] for name in diff.added] + [["removed", text(name), ""] for name in diff.removed]
    for kind in ("renamed", "reweighted", "moved", "rescoped", "objectives", "defaults"):
        changes: Sequence[Change] = getattr(diff, kind)
        rows += [[kind, text(c.what), f"<del>{_shown(c.before)}</del> <ins>{_shown(c.after)}</ins>"] for c in changes]
    rows += [["reworded", f"{text(r.principle_id)} <small>{r.field}</small>", _words(r.edits)] for r in diff.reworded]
    return table(["edit", "where", "what"], rows) if rows else "<p>Both mean the same.</p>"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return text(", ".join(f"{name} {share}" for name, share in value.items()))
    return "none" if value is None else text(value)


def _words(edits: Sequence[Edit]) -> str:
    return "".join(MARKS[edit.kind].format(text(edit.text)) for edit in edits)


def _bill(report: EffectReport) -> str:
    bill = report.bill
    known = [
        ("votes stored under the constitution before", bill.votes),
        ("of these no longer valid", bill.votes_invalid),
        ("votes to ask", bill.votes_to_ask),
    ]
    rows = [[name, "not counted: no store" if count is None else f"{count:,}"] for name, count in known]
    speed = "not measured" if bill.seconds_per_vote is None else f"{bill.seconds_per_vote:.4f} s"
    rows.append(["seconds per vote", f"{speed} <small>{text(bill.measured_on)}</small>"])
    rows.append(["minutes", "not known" if bill.minutes is None else f"{bill.minutes:.1f}"])
    rows.append(["reward models to train again", text(", ".join(bill.retrain) or "none")])
    rows.append(["reward models unaffected", text(", ".join(bill.unaffected) or "none")])
    return table(["what", "how much"], rows)


def _labels(effects: Sequence[ObjectiveEffect]) -> str:
    head = ["objective", "pairs", "flips", "noise floor", "p", "to ties", "from ties", "mean |Δp|", "direction", "p"]
    rows = [
        [
            f"{text(e.objective)}<br><small>{text(e.finding)}</small>",
            f"{e.n}<br><small>abstained {e.abstained[0]} → {e.abstained[1]}</small>",
            f"{e.flips}<br>{number(e.flip_share, 1, percent=True)}",
            f"{e.noise_flips}<br>{number(e.noise_share, 1, percent=True) if e.noise_share else 'not known'}",
            f"{e.p_noise:.3g}",
            str(e.softened),
            str(e.firmed),
            number(e.mean_shift, 3),
            f"{e.toward} to, {e.away} from {DIRECTIONS[e.direction]}<br>{number(e.net, 3)}",
            f"{e.p_direction:.3g}",
        ]
        for e in effects
    ]
    note = (
        "Flips: labels that went from one reply to the other. Noise floor: flips when the constitution before is "
        "judged again. p: exact McNemar, two-sided; first that the edit flips no more than judging again does, then "
        "that flips have no direction. Intervals: 95 %."
    )
    return table(head, rows, note) if rows else ""


def _truth(effects: Sequence[ObjectiveEffect]) -> str:
    rows = [
        [
            text(e.objective),
            str(e.truth.flips),
            number(e.truth.precision, 1, percent=True),
            number(e.truth.recall, 1, percent=True),
            number(e.truth.matters, 1, percent=True),
            str(e.truth.moves),
            number(e.truth.move_precision, 1, percent=True),
            number(e.truth.move_recall, 1, percent=True),
        ]
        for e in effects
        if e.truth
    ]
    head = [
        "against the truth",
        "true flips",
        "precision",
        "recall",
        "edit matters",
        "true moves",
        "precision",
        "recall",
    ]
    note = "A perfect judge under the same two constitutions. Moves: probabilities that differ by more than 0.1."
    return table(head, rows, note) if rows else ""


def _tags(effects: Sequence[ObjectiveEffect]) -> str:
    flipped = [(effect, tag) for effect in effects for tag in effect.tags if tag.flips]
    rows = [[text(tag.tag), text(effect.objective), str(tag.flips), str(tag.n)] for effect, tag in flipped]
    return table(["prompts tagged", "objective", "flips", "pairs"], rows) if rows else ""


def _edits(report: EffectReport) -> str:
    rows = [[text(e.principle_id), text(e.objective), str(e.alone), str(e.without)] for e in report.edits]
    note = "Flips against the constitution before, from the same votes."
    return table(["edited principle", "objective", "this edit alone", "all edits but this"], rows, note) if rows else ""


def _roles(report: EffectReport) -> str:
    rows = [
        [
            text(role.principle_id),
            text(role.objective),
            f"{role.flips} of {role.n}",
            f"{100 * role.relevance:.0f} %",
            number(role.accuracy, 1, percent=True),
            "–" if role.performance is None else decimal(role.performance),
        ]
        for role in report.roles
    ]
    head = ["principle after", "objective", "labels that flip without it", "takes a side", "right", "performance"]
    note = "Right: the reply that is better by gold, or chosen. Performance: 2 (right − 50 %) × takes a side."
    return table(head, rows, note) if rows else ""


def _agreement(found: Sequence[Agreement]) -> str:
    """The matrix; a cell says how often two principles take the same side, of the pairs on which both take one."""
    names = sorted({name for row in found for name in (row.first, row.second)})
    cells = {frozenset((row.first, row.second)): row for row in found}
    rows = [[text(a), *(_cell(cells.get(frozenset((a, b)))) if a != b else "" for b in names)] for a in names]
    note = "Redundant above 95 %, conflicting below 40 %, on at least 10 pairs."
    return table(["", *map(text, names)], rows, note) if rows else ""


def _cell(row: Agreement | None) -> str:
    if row is None or row.share is None:
        return '<span class="none">–</span>'
    finding = f"<br><b>{row.finding}</b>" if row.finding else ""
    return f"{100 * row.share.value:.0f} %<br><small>n = {row.n}</small>{finding}"


def _flipped(pair: FlippedPair) -> str:
    sides = "".join(f"<div>{_reply(name, reply)}</div>" for name, reply in (("A", pair.a), ("B", pair.b)))
    words = "".join(
        f'<p class="critique"><b>{name}</b> {text(words)}</p>'
        for name, words in (("A", pair.rationale_a), ("B", pair.rationale_b))
        if words
    )
    moved = f"P(A better) {decimal(pair.before)} → {decimal(pair.after)}, {text(pair.objective)}; "
    by = f"moved by <b>{text(pair.principle_id)}</b> ({decimal(pair.shift)} log-odds)" if pair.principle_id else ""
    return (
        f'<article class="talk"><p class="prompt">{text(pair.prompt)}</p><p class="note">{moved}{by}</p>'
        f'<div class="step"><div class="sides">{sides}</div>{words}</div></article>'
    )


def _reply(name: str, reply: str) -> str:
    return f'<div class="line"><b>{name}</b></div>' + "".join(
        f'<div class="line">{text(line) or "&nbsp;"}</div>' for line in reply.splitlines()
    )


def _provenance(report: EffectReport) -> str:
    facts = {
        "constitution before": report.diff.before.hash,
        "constitution after": report.diff.after.hash,
        "judge": report.judging.judge,
        "pairs": f"{report.probes.n} of {report.probes.source}, seed {report.probes.seed}, {report.probes.hash}",
        "votes": f"{report.judging.asked:,} asked, {report.judging.shared:,} of them shared",
        "votes for the noise floor": f"{report.judging.again:,}",
        "seconds of judging": f"{report.judging.seconds:.1f}",
        "not measured": ", ".join(report.not_measured),
    }
    return table(["what", "which"], [[name, f"<code>{text(value)}</code>"] for name, value in facts.items()])
