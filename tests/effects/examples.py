"""A small made-up world with a judge that reads a number from the reply: every expected figure is done by hand.

A reply is text such as "fumes 2 steps 1"; the question "less fumes?" prefers the smaller number of fumes by two
log-odds a unit, "more steps?" the larger number of steps.
"""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.constitution.constitution import Constitution, Objective
from rlhf_core.constitution.principle import Principle
from rlhf_core.effects.probes import Probes
from rlhf_core.effects.report import ProbeSummary
from rlhf_core.feedback.voters import vote_id
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.samples import Comparison, Prompt, Sample

FUMES = Principle(
    id="fumes", serves={"harmless": 1.0}, compare="less fumes?", critique="Any fumes?", revise="Fewer fumes."
)
BURNS = Principle(id="burns", serves={"harmless": 1.0}, compare="less burns?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="more steps?")
LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"), Objective(name="harmless")),
    principles=(FUMES, BURNS, STEPS),
)


def law(*principles: Principle) -> Constitution:
    return LAW.model_copy(update={"principles": principles})


def pair(number: int, a: str, b: str, tags: tuple[str, ...] = ()) -> Comparison:
    prompt = Prompt.of(f"Task {number}?", tags=tags)
    first, second = (Sample(id=f"{number}{x}", prompt=prompt, response=x, policy_version="data") for x in (a, b))
    return Comparison.of(first, second, "")


def odds(question: str, a: str, b: str) -> float:
    """What the judge of this world makes of two replies."""
    how, what = question.rstrip("?").split()
    counts = [int(dict(zip(words[::2], words[1::2], strict=True)).get(what, 0)) for words in (a.split(), b.split())]
    return 2.0 * (counts[1] - counts[0]) * (1 if how == "less" else -1)


class Judge:
    """interfaces.Feedback of this world; `lean` is added to the log-odds of the reply shown first."""

    name = "reader"
    template_hash = "t"
    usage = Usage()

    def __init__(self, lean: float = 0.0):
        self.lean = lean
        self.questions: list[tuple[str, str]] = []

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        self.questions += [(principle.compare, pair.id) for pair, principle in questions]
        return [self._vote(pair, principle, swapped) for pair, principle in questions for swapped in (False, True)]

    def _vote(self, of: Comparison, principle: Principle, swapped: bool) -> Vote:
        value = odds(principle.compare, of.a.response, of.b.response) + (-self.lean if swapped else self.lean)
        return Vote(
            id=vote_id(of, principle, self.name, swapped),
            comparison_id=of.id,
            principle_id=principle.id,
            principle_hash=principle.hash,
            template_hash=self.template_hash,
            constitution_hash="",
            judge=self.name,
            swapped=swapped,
            logprob_a=min(value, 0.0),
            logprob_b=min(-value, 0.0),
            label_mass=1.0,
        )

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        return [
            Critique(
                sample_id=sample.id,
                principle_id=principle.id,
                principle_hash=principle.hash,
                constitution_hash="",
                template_hash="",
                critic=self.name,
                verdict="complies",
                text=f"{principle.critique} {sample.response}",
            )
            for sample, principle in items
        ]

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        return [sample.response for sample, *_ in items]


def probes(*pairs: Comparison) -> Probes:
    return Probes(pairs, ProbeSummary(source="by hand", n=len(pairs), seed=0, hash="h"))
