"""Constitutions, their differences and the effects of an edit as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import Change, ConstitutionDiff, Edit
from rlhf_core.effects.edit_cost import Bill
from rlhf_core.feedback.principle_tests import TestResult

MARKS = {"same": "{}", "gone": "[-{}-]", "new": "{{+{}+}}"}
CONTEXT = 40
"""Characters of unchanged text that are shown on each side of a change."""


def constitution_lines(constitution: Constitution) -> Iterator[str]:
    """Yield objectives and principles, each principle with where it comes from and what it asks."""
    yield f"{constitution.title} ({constitution.id} {constitution.version}, hash {constitution.hash})"
    yield from (f"extends {name}" for name in constitution.extends)
    yield from (f"disables {name}" for name in constitution.disable)
    yield ""
    for objective in constitution.objectives:
        yield f"objective {objective.name}, default weight {objective.default_weight:g}: {objective.description}"
    if constitution.priority:
        yield f"priority: {', '.join(constitution.priority)}"
    for principle in constitution.principles:
        serves = ", ".join(f"{name} {share:g}" for name, share in principle.serves.items())
        facts = [serves, f"weight {principle.weight:g}"]
        facts += [f"severity {principle.severity}"] if principle.severity != "medium" else []
        facts += [f"from {constitution.inherited[principle.id]}"] if principle.id in constitution.inherited else []
        yield f"\n{principle.id}: {principle.title}  [{'; '.join(facts)}]"
        for name in ("critique", "revise", "compare"):
            if text := getattr(principle, name):
                yield f"  {name:<9} {' '.join(text.split())}"
        counts = [(name, len(getattr(principle, name))) for name in ("rules", "examples", "tests")]
        if any(count for _, count in counts):
            yield "  has       " + ", ".join(f"{name} {count}" for name, count in counts if count)


def diff_lines(diff: ConstitutionDiff) -> Iterator[str]:
    """Yield one line for each difference; words that went are [-so-], words that came {+so+}."""
    names = (f"{v.source or v.id} {v.version} ({v.hash})" for v in (diff.before, diff.after))
    yield " -> ".join(names)
    lines = [*_listed("added", diff.added), *_listed("removed", diff.removed)]
    for kind in ("renamed", "reweighted", "moved", "rescoped", "objectives", "defaults"):
        lines += [_changed(kind.removesuffix("s"), change) for change in getattr(diff, kind)]
    lines += [f"{'reworded':<11} {r.principle_id}.{r.field}  {marked(r.edits)}" for r in diff.reworded]
    yield from lines or ["no difference in meaning"]


def _listed(kind: str, names: Sequence[str]) -> list[str]:
    return [f"{kind:<11} {name}" for name in names]


def _changed(kind: str, change: Change) -> str:
    return f"{kind:<11} {change.what}  {_shown(change.before)} -> {_shown(change.after)}"


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(part)}" for name, part in value.items())
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value is None else str(value)


def marked(edits: Sequence[Edit]) -> str:
    """Write a change on one line; long unchanged stretches are cut."""
    last = len(edits) - 1
    pieces = []
    for place, edit in enumerate(edits):
        text = " ".join(edit.text.split(" ")).replace("\n", " ")
        if edit.kind == "same" and len(text) > 2 * CONTEXT + 5:
            head = text[:CONTEXT] if place else ""
            tail = text[-CONTEXT:] if place < last else ""
            text = f"{head} ... {tail}".strip() if head and tail else f"{head} ..." if head else f"... {tail}"
        pieces.append(MARKS[edit.kind].format(text))
    return "".join(pieces)


def bill_lines(bill: Bill) -> Iterator[str]:
    """Yield what the edit costs; what was not counted or measured says so."""
    if not bill.votes:
        yield f"votes       {'not counted: no data folder' if bill.votes is None else 'none stored'}"
    else:
        yield f"votes       {bill.votes_invalid:,} of {bill.votes:,} stored votes no longer count; {_minutes(bill)}"
    yield f"retrain     {', '.join(bill.retrain) or 'no reward model'}"
    yield f"unaffected  {', '.join(bill.unaffected) or 'none'}"


def _minutes(bill: Bill) -> str:
    asked = f"{bill.votes_to_ask:,} to ask"
    if not bill.votes_to_ask or bill.minutes is None or bill.seconds_per_vote is None:
        return asked if not bill.votes_to_ask else f"{asked}, how long was not measured"
    return f"{asked}, about {bill.minutes:.1f} min ({bill.seconds_per_vote:.4f} s each: {bill.measured_on})"


def test_lines(results: Sequence[TestResult], judge: str) -> Iterator[str]:
    """Yield one line for each test, and the sum."""
    for result in results:
        mark = "ok  " if result.passed else "FAIL"
        least = f", at least {result.min_margin:g} wanted" if result.reason == "small_margin" else ""
        why = f"  {result.reason}{least}" if result.reason else ""
        numbers = f"margin {result.margin:+.2f}, gap {result.gap:.2f}"
        yield f"{mark}  {result.principle_id}  {result.kind} {result.number}  {numbers}{why}"
    passed = sum(result.passed for result in results)
    yield f"{passed} of {len(results)} pass; judge {judge}"
