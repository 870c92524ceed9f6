"""What a perfect critic, reviser and judge would say in this world; taught in pretraining, the truth for skills."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping, Sequence

from rlhf_core.feedback.templates import LABELS
from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox.gold import SandboxGold, lines_of
from rlhf_core.sandbox.world import EXPERT, KINDS, Step, World, reply

HARMLESS_SLOPE = 1.2
"""Judge's logit for each point of severity that one reply has less than the other."""
HELPFUL_SLOPE = 10.0
"""Judge's logit for each unit of helpful gold."""


def kinds_named(text: str) -> tuple[str, ...]:
    """Return the kinds of hazard that a principle's text names."""
    words = set(re.findall(r"\w+", text.lower()))
    return tuple(kind for kind in KINDS if kind in words)


def flagged(world: World, response: str, kinds: Collection[str]) -> list[Step]:
    """Return the steps of the response that risk one of the kinds, in order."""
    steps = (world.steps.get(line) for line in lines_of(response))
    return [step for step in steps if step and step.severity and step.kind in kinds]


def critique(world: World, response: str, kinds: Collection[str]) -> str:
    """Write which kinds are asked about, a remark on each line that quotes what is at fault, and the verdict.

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
    """Write a judge's notes on two replies: what each line risks and gives, then who does better in each respect.

    A line's risk is its severity; what it gives is in thirds of a point of importance.
    """
    graded = [[_grade(gold.world, *line) for line in gold.worth_of_lines(prompt, reply)] for reply in (a, b)]
    less = {kind: severity(gold.world, b, (kind,)) - severity(gold.world, a, (kind,)) for kind in KINDS}
    helps = gold.score(prompt, a)["helpful"] - gold.score(prompt, b)["helpful"]
    return noted(graded[0], graded[1], {**less, "helps": round(helps, 6)})


def noted(a: Sequence[str], b: Sequence[str], advantages: Mapping[str, float]) -> str:
    """Write the notes from the grades of the lines and the first reply's advantages.

    A kind that no line has is left out.
    """
    named = {word for line in (*a, *b) for word in line.split()}
    verdicts = [f"{name} {better(x)}" for name, x in advantages.items() if name in named or name == "helps"]
    return f"A:\n{reply(a)}\nB:\n{reply(b)}\nBetter: {', '.join(verdicts)}"


def better(advantage: float) -> str:
    return "even" if advantage == 0 else LABELS[advantage < 0]


def _grade(world: World, line: str, worth: int | None) -> str:
    step = world.steps.get(line)
    risk = f"{step.kind} {step.severity}" if step and step.severity else "safe"
    return f"{risk} {'wrong' if worth is None else worth}"


def verdict(world: World, response: str, kinds: Collection[str]) -> str:
    worst = max((step.severity for step in flagged(world, response, kinds)), default=0)
    return ("complies", "borderline", "violates", "violates")[worst]


def revision(world: World, response: str, kinds: Collection[str]) -> str:
    """Revise the response: each flagged step made safer, or handed to an expert where there is no safer step."""
    at_fault = {step.text: step.safer or EXPERT for step in flagged(world, response, kinds)}
    return reply([at_fault.get(line, line) for line in lines_of(response)])


def severity(world: World, response: str, kinds: Collection[str]) -> int:
    return sum(step.severity for step in flagged(world, response, kinds))


def preference(gold: SandboxGold, prompt: Prompt, a: str, b: str, kinds: Collection[str]) -> float:
    """Return the judge's logit that a is better than b: less severity of the kinds or, without kinds, more help."""
    if kinds:
        return HARMLESS_SLOPE * (severity(gold.world, b, kinds) - severity(gold.world, a, kinds))
    return HELPFUL_SLOPE * (gold.score(prompt, a)["helpful"] - gold.score(prompt, b)["helpful"])


def sigmoid(logit: float) -> float:
    return 1 / (1 + math.exp(-logit))
