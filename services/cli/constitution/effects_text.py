"""The effects of an edit as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rlhf_core.effects.report import EffectReport, FlippedPair, ObjectiveEffect
from rlhf_core.evaluation.statistics import Estimate

TOWARD = {"gold": "the better reply (gold)", "chosen": "the chosen reply", "longer": "the longer reply"}
SHOWN = 3
"""Flipped pairs in the text; the page and the JSON hold ten."""


def effect_lines(report: EffectReport) -> Iterator[str]:
    """Yield what changed, for each objective; who did it; how principles get on; the pairs that flipped furthest."""
    judging, probes = report.judging, report.probes
    yield f"effects on {probes.n} pairs of {probes.source} (seed {probes.seed}), judge {judging.judge}"
    yield f"{judging.asked:,} votes asked, {judging.again:,} asked again, {judging.seconds:.1f} s"
    for effect in report.objectives:
        yield from _objective(effect)
    yield from report.notes
    if report.edits:
        yield "\nflips by edit"
        yield from (
            f"  {e.principle_id}, {e.objective}: {e.alone} by this edit alone, {e.without} by all but this"
            for e in report.edits
        )
    told = [row for row in report.agreement if row.finding and row.share]
    if told:
        yield "\nprinciples"
        yield from (f"  {row.first} and {row.second}: {row.finding}, agree on {_percent(row.share)}" for row in told)
    if report.flipped:
        yield "\nflipped furthest"
        for pair in report.flipped[:SHOWN]:
            yield from _flipped(pair)
    yield f"\nnot measured: {', '.join(report.not_measured)}"


def _objective(effect: ObjectiveEffect) -> Iterator[str]:
    yield f"\n{effect.objective}: {effect.finding}"
    yield f"  flips       {effect.flips} of {effect.n} labels, {_percent(effect.flip_share)}"
    yield f"  abstained   {effect.abstained[0]} before, {effect.abstained[1]} after"
    yield f"  noise       {effect.noise_flips} when judged again; p = {effect.p_noise:.3g} (exact McNemar)"
    yield f"  ties        {effect.softened} labels became ties, {effect.firmed} ties became labels"
    ways = f"{effect.toward} to {TOWARD[effect.direction]}, {effect.away} from it"
    yield f"  direction   {ways}; p = {effect.p_direction:.3g}"
    if truth := effect.truth:
        flips = f"precision {_percent(truth.precision)}, recall {_percent(truth.recall)}"
        yield f"  truth       {truth.flips} flips; {flips}"
        moves = f"precision {_percent(truth.move_precision)}, recall {_percent(truth.move_recall)}"
        yield f"  moves > 0.1 {truth.moves} in truth; {moves}"


def _percent(estimate: Estimate | None) -> str:
    if estimate is None:
        return "none to measure"
    value, low, high = (100 * x for x in (estimate.value, estimate.low, estimate.high))
    return f"{value:.1f} % ({low:.0f} to {high:.0f} %, n = {estimate.n})"


def _flipped(pair: FlippedPair) -> Sequence[str]:
    by = f", by {pair.principle_id}" if pair.principle_id else ""
    lines = [f"  {pair.objective}: P(A better) {pair.before:.2f} -> {pair.after:.2f}{by}"]
    lines.append(f"    {_one_line(pair.prompt)}")
    for name, reply, words in (("A", pair.a, pair.rationale_a), ("B", pair.b, pair.rationale_b)):
        lines.append(f"    {name}: {_one_line(reply)}")
        lines += [f"       {_one_line(words)}"] if words else []
    return lines


def _one_line(text: str, most: int = 150) -> str:
    line = " / ".join(part.strip() for part in text.splitlines() if part.strip())
    return line if len(line) <= most else f"{line[: most - 4]} ..."
