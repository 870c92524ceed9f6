"""A comparison in words: which policy is better, by how much, and how far chance goes."""

from __future__ import annotations

from rlhf_core.comparison.records import Part, RunComparison, Side, Verdict
from rlhf_core.evaluation.statistics import Estimate

UNTOLD = "not told apart"
UNIT = "standard deviations of the reference policy's replies"


def name_of(side: Side) -> str:
    return side.display_name or side.run_id.rpartition("-")[2]


def headline(found: RunComparison) -> str:
    """Say in a sentence whether the second policy is better, worse or neither."""
    between = f"from {_placed(found.a)} to {_placed(found.b)}"
    if found.drawn_otherwise:
        told = f"the two runs drew their replies otherwise ({found.drawn_otherwise})"
        return f"Not told {between}: {told}; evaluate one anew as the other was: from_run, start_at=evaluate."
    if found.verdict is None:
        return f"Not told {between}: no judge knows replies of both to the same prompts; people can say, in a study."
    weighted = found.verdict.weighted
    if weighted is None:
        return f"Not told {between}: there is no weighted sum, as {found.verdict.note}."
    told = f"{between} the weighted sum changed by {signed(weighted)}"
    trade = trade_of(found.verdict)
    if trade and side_of(weighted) == UNTOLD:
        return f"A trade: {trade}; {told}, which is {UNTOLD} from 0."
    return f"{side_of(weighted).capitalize()}: {told}{trade and f'; {trade}'}."


def trade_of(verdict: Verdict) -> str:
    """Write `better on helpful, worse on harmless`; empty unless some objective is better and another worse."""
    counted = [(side_of(part.difference), part.objective) for part in verdict.parts if part.weight]
    sides = {side: [name for told, name in counted if told == side] for side in ("better", "worse")}
    return ", ".join(f"{side} on {' and '.join(names)}" for side, names in sides.items()) if all(sides.values()) else ""


def _placed(side: Side) -> str:
    """The name, with what the policy that is compared has to do with production."""
    if side.in_production:
        return f"{name_of(side)} (in production)"
    other = f"{side.in_production_instead} of it is in production, not its last policy, which is compared"
    return f"{name_of(side)} ({other})" if side.in_production_instead else name_of(side)


def side_of(difference: Estimate) -> str:
    """Call a difference `better` or `worse` where its interval leaves 0 out."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else UNTOLD


def part_words(part: Part) -> str:
    """Write `helpful: better, from 0.71 to 0.83, by +0.12 [+0.06, +0.19]; 1 is best`."""
    best = "" if part.best is None else f"; {part.best:g} is best"
    moved = f"from {part.a.value:z.2f} to {part.b.value:z.2f}, by {signed(part.difference)}"
    return f"{part.objective}: {side_of(part.difference)}, {moved}{best}"


def basis(verdict: Verdict) -> str:
    """Say what a verdict stands on: who judged, on how many prompts, how it was weighed."""
    judges = {"gold": "gold, the truth that only the sandbox knows", "reward model": "the reward models of both runs"}
    told = f"Judged by {judges[verdict.judge]}, on the {verdict.prompts} held-out prompts that both answered; "
    told += "higher is better. Intervals are of 95 %, paired by prompt; what holds 0 is not told apart from chance."
    if verdict.weighted is None:
        return told
    whose = "the second run's, as the first has others" if verdict.weights_differ else "those of both runs"
    return f"{told} Weighted sum: {_formula(verdict)}; the weights are {whose}."


def _formula(verdict: Verdict) -> str:
    counted = [part for part in verdict.parts if part.weight]
    terms = [
        f"{part.weight:g} × {part.objective}" + (f" / {part.unit:.2f}" if part.unit != 1 else "") for part in counted
    ]
    total = sum(part.weight for part in counted)
    whole = " + ".join(terms) if total == 1 else f"({' + '.join(terms)}) / {total:g}"
    scaled = verdict.judge == "reward model" or any(part.unit != 1 for part in counted)
    return f"{whole}, in {UNIT}" if scaled else whole


def signed(estimate: Estimate) -> str:
    """Write `+0.12 [+0.06, +0.19]`."""
    return f"{estimate.value:+z.2f} [{estimate.low:+z.2f}, {estimate.high:+z.2f}]"
