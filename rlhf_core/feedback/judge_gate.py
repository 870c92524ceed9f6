"""The judge's gate: before labels may train anything, the judge must agree with whoever knows the better reply."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config.run import GateConfig
from rlhf_core.feedback.vote_aggregation import Tally
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import UNASKED, UNREAD, JudgeGate, Truth
from rlhf_core.records.samples import Comparison
from rlhf_core.stats import clustered_interval

WHO: dict[Truth, str] = {"human": "people", "gold": "gold"}


class Judge(NamedTuple):
    """The judge whose labels are measured, with run, objective and constitution."""

    run_id: str
    name: str
    objective: str
    constitution_hash: str


class Case(NamedTuple):
    """A comparison whose better reply is known, and the judge's tally on it."""

    comparison: Comparison
    a_is_better: bool
    counted: Tally
    abstains: bool


class Evidence(NamedTuple):
    """Cases to measure a judge on, and who knows their better replies: people or gold."""

    truth: Truth
    cases: Sequence[Case]


def measure_gate(judge: Judge, evidence: Evidence, config: GateConfig) -> JudgeGate:
    """Measure the gate of one objective. Agreement is on the cases that the judge decides, consistency on all
    on which it was asked.

    A probability of exactly one half, and replies of equal length, count as half an agreement.
    """
    decided = [case for case in evidence.cases if not case.abstains]
    prompts = [case.comparison.prompt.id for case in decided]
    agreement, low = _agreement(
        prompts, [_agrees(case.counted.probability - 0.5, case.a_is_better) for case in decided]
    )
    longer, _ = _agreement(prompts, [_agrees(_length_lead(case.comparison), case.a_is_better) for case in decided])
    measured = {
        "pairs": len(decided),
        "abstained": len(evidence.cases) - len(decided),
        "agreement": agreement,
        "agreement_low": low,
        "longer_reply": longer,
        "consistency": position_consistency([case.counted for case in evidence.cases]),
    }
    gate = JudgeGate(
        id=content_id(
            "gate", *judge, evidence.truth, *config.model_dump(exclude={"allow_ungated"}).values(), *measured.values()
        ),
        run_id=judge.run_id,
        judge=judge.name,
        objective=judge.objective,
        constitution_hash=judge.constitution_hash,
        truth=evidence.truth,
        passed=True,
        reason="",
        **measured,
    )
    reason = shortfall(gate, config)
    return gate.model_copy(update={"passed": not reason, "reason": reason})


def shortfall(gate: JudgeGate, config: GateConfig) -> str:
    """Say in words, with the numbers, what the judge lacks to pass its gate; empty when it passes."""
    who = WHO[gate.truth]
    if gate.pairs < config.pairs:
        besides = f" ({gate.abstained} more on which it abstains)" if gate.abstained else ""
        return f"{gate.pairs} pairs with a better reply known from {who}{besides}; needed: {config.pairs}"
    bar = max(config.agreement, gate.longer_reply)
    if gate.agreement_low <= bar:
        named = "what always preferring the longer reply reaches" if bar > config.agreement else "the least allowed"
        return (
            f"agrees with {who} on {gate.agreement:.1%} of {gate.pairs} pairs, which may be as little as "
            f"{gate.agreement_low:.1%}; it must lie above {bar:.1%}, {named}"
        )
    if gate.consistency < config.consistency:
        return (
            f"names the same reply in both orders on {gate.consistency:.1%} of the pairs; needed: "
            f"{config.consistency:.0%}"
        )
    return ""


def position_consistency(tallies: Sequence[Tally]) -> float:
    """Return the share of pairs on which the judge prefers the same reply in both orders.

    A pair with an unreadable vote counts as inconsistent; one on which nothing was asked does not count. The share is 0
    where no pair counts.
    """
    asked = [one for one in tallies if one.reason not in UNASKED]
    same = [one.reason != UNREAD and (one.first * one.second > 0 or one.first == one.second) for one in asked]
    return sum(same) / len(same) if same else 0.0


def _agreement(prompts: Sequence[str], scores: Sequence[float]) -> tuple[float, float]:
    """The mean and the lower end of its 95 % interval, pairs of one prompt together; nothing is known of no pairs."""
    if not scores:
        return 0.0, 0.0
    groups: dict[str, list[float]] = defaultdict(list)
    for prompt, score in zip(prompts, scores, strict=True):
        groups[prompt].append(score)
    low = clustered_interval([(sum(group), len(group)) for group in groups.values()]).low
    return sum(scores) / len(scores), low


def _agrees(lead_of_a: float, a_is_better: bool) -> float:
    return 0.5 if lead_of_a == 0 else float((lead_of_a > 0) == a_is_better)


def _length_lead(comparison: Comparison) -> int:
    return len(comparison.a.response) - len(comparison.b.response)
