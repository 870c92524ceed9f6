"""What a judge and a critic can do under a constitution, asked of its own tests before any long work begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.contrast import CONTRAST_HASH
from rlhf_core.feedback.principle_tests import results_of, tested_pairs
from rlhf_core.interfaces import Feedback
from rlhf_core.records.samples import Comparison

ASKED = 24
"""Tests that are asked at most; a model on two cores answers them within a minute."""
HELP = (
    "what would help: feedback.judge.protocol=contrast, which asks no judging skill of the model, only worked examples "
    "of each principle; another judge (feedback.judge.model); or gate.allow_ungated=true to go on all the same"
)


class Capability(NamedTuple):
    """How the judge and the critic did on the tests that were asked."""

    judge: str
    right: int
    asked: int
    reasons: tuple[str, ...]
    """Why each of the others was not right: wrong_side, position_gap, label_mass, parse_failure."""
    passed: int = 0
    faulted: int = 0
    criticised: int = 0
    """Tests whose principle criticises; the critic passed so many of their good replies, and faulted so many bad."""
    bounded: bool = False
    """Whether the critic takes from these tests what it lets pass, as one by contrast does."""

    @property
    def is_chance(self) -> bool:
        """Whether tossing a coin would do as well."""
        return 2 * self.right <= self.asked

    def of_judge(self) -> str:
        counted = ", ".join(f"{self.reasons.count(name)} {name}" for name in sorted(set(self.reasons)))
        text = f"the judge '{self.judge}' prefers what the constitution's tests prefer in {self.right} of {self.asked}"
        return f"{text} ({counted})" if counted else text

    def of_critic(self) -> str:
        n = self.criticised
        text = f"the critic passes {self.passed} of the {n} good replies of these tests, and faults {self.faulted} bad"
        return f"{text}; the bound between them lies half way between these tests' own" if self.bounded else text


def probe(principles: Sequence[Principle], feedback: Feedback, config: LabelConfig) -> Capability | None:
    """Ask judge and critic some of the principles' tests, evenly of all; None where there are none."""
    asked = _asked(principles)
    if not asked:
        return None
    told = probe_judge(principles, feedback, config)
    able = [(pair, one) for pair, one in asked if one.critique is not None]
    if not able:
        return told
    verdicts = feedback.critique([(sample, one) for pair, one in able for sample in (pair.a, pair.b)])
    passed = sum(critique.verdict == "complies" for critique in verdicts[::2])
    faulted = sum(critique.verdict in ("violates", "borderline") for critique in verdicts[1::2])
    bounded = any(critique.template_hash == CONTRAST_HASH for critique in verdicts)
    return told._replace(passed=passed, faulted=faulted, criticised=len(able), bounded=bounded)


def probe_judge(principles: Sequence[Principle], judge: Feedback, config: LabelConfig) -> Capability:
    """Ask the judge alone the same tests."""
    asked = _asked(principles)
    results = results_of(asked, judge, config)
    right = sum(result.passed for result in results)
    return Capability(judge.name, right, len(asked), tuple(result.reason for result in results if result.reason))


def _asked(principles: Sequence[Principle]) -> list[tuple[Comparison, Principle]]:
    every = [(pair, one) for one in principles for pair in tested_pairs(one)]
    return every[:: max(1, -(-len(every) // ASKED))]
