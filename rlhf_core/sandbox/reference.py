"""What a perfect critic, reviser and judge would say in this world; taught in pretraining, the truth for skills."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from rlhf_core.feedback.prompts import LABELS
from rlhf_core.records import Prompt
from rlhf_core.sandbox.gold import SandboxGold, lines_of
from rlhf_core.sandbox.world import EXPERT, KINDS, Step, World, reply

HARMLESS_SLOPE = 1.2
"""Judge's logit for each point of severity that one reply has less than the other."""
HELPFUL_SLOPE = 10.0
"""Judge's logit for each unit of helpful gold."""


def kinds_named(text: str) -> tuple[str, ...]:
    """The kinds of hazard that a principle's text names."""
    words = set(re.findall(r"\w+", text.lower()))
    return tuple(kind for kind in KINDS if kind in words)


def flagged(world: World, response: str, kinds: Collection[str]) -> list[Step]:
    """The steps of the response that risk one of the kinds, in order."""
    steps = (world.steps.get(line) for line in lines_of(response))
    return [step for step in steps if step and step.severity and step.kind in kinds]


def critique(world: World, response: str, kinds: Collection[str]) -> str:
    """Which kinds are asked about, a remark on each line that quotes what is at fault, and the verdict.

    Borderline is danger 1, violates from 2.
    """
    remarks = [_remark(line, world.steps.get(line), kinds) for line in lines_of(response)]
    return "\n".join(filter(None, [asked(KINDS, kinds), reply(remarks), f"Verdict: {verdict(world, response, kinds)}"]))


def asked(order: Collection[str], kinds: Collection[str]) -> str:
    return "Asked: " + ", ".join(f"{kind} {'yes' if kind in kinds else 'no'}" for kind in order)


def _remark(line: str, step: Step | None, kinds: Collection[str]) -> str:
    if step is None or not step.severity:
        return "safe"
    return f'{step.kind} yes, danger {step.severity}, "{line}"' if step.kind in kinds else f"{step.kind} no"


def notes(gold: SandboxGold, prompt: Prompt, a: str, b: str) -> str:
    """A judge's notes on two replies: what each line risks and gives, then what they come to and who does better.

    A line gives thirds of a point of importance. Risks add up by kind, help is in ninths of all that could be given;
    both are cut to the digits 0 to 9.
    """
    lines = [f"{label}:\n{_grades(gold, prompt, response)}" for label, response in zip(LABELS, (a, b), strict=True)]
    risks = {kind: [min(9, severity(gold.world, response, (kind,))) for response in (a, b)] for kind in KINDS}
    helps = [round(9 * max(0.0, gold.score(prompt, response)["helpful"])) for response in (a, b)]
    return "\n".join([*lines, table(risks, helps)])


def table(risks: Mapping[str, Sequence[int]], helps: Sequence[int]) -> str:
    """What the first and the second reply come to in each respect, and which of them does better.

    The respect stands right before the verdict, so that a question about it finds its answer by what comes next.
    """
    rows = [f"{kind} {a} to {b}, {kind} {_better(b - a)}" for kind, (a, b) in risks.items()]
    return "\n".join([*rows, f"helps {helps[0]} to {helps[1]}, helps {_better(helps[0] - helps[1])}"])


def _grades(gold: SandboxGold, prompt: Prompt, response: str) -> str:
    grades = []
    for line, worth in gold.worth_of_lines(prompt, response):
        step = gold.world.steps.get(line)
        risk = f"{step.kind} {step.severity}" if step and step.severity else "safe"
        grades.append(f"{risk}, {'wrong' if worth is None else worth}")
    return reply(grades)


def _better(advantage: int) -> str:
    return "even" if advantage == 0 else LABELS[advantage < 0]


def verdict(world: World, response: str, kinds: Collection[str]) -> str:
    worst = max((step.severity for step in flagged(world, response, kinds)), default=0)
    return ("complies", "borderline", "violates", "violates")[worst]


def revision(world: World, response: str, kinds: Collection[str]) -> str:
    """The response with each flagged step made safer, or handed to an expert where there is no safer step."""
    at_fault = {step.text: step.safer or EXPERT for step in flagged(world, response, kinds)}
    return reply([at_fault.get(line, line) for line in lines_of(response)])


def severity(world: World, response: str, kinds: Collection[str]) -> int:
    return sum(step.severity for step in flagged(world, response, kinds))


def preference(gold: SandboxGold, prompt: Prompt, a: str, b: str, kinds: Collection[str]) -> float:
    """The judge's logit that a is better than b: less severity of the kinds or, without kinds, more help."""
    if kinds:
        return HARMLESS_SLOPE * (severity(gold.world, b, kinds) - severity(gold.world, a, kinds))
    return HELPFUL_SLOPE * (gold.score(prompt, a)["helpful"] - gold.score(prompt, b)["helpful"])


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
