"""The critic and the judge for a thread that may wait: each unit takes its turn on the thread that owns the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rlhf_core.constitution.constitution import Principle
from rlhf_core.feedback.model_feedback import LocalFeedback
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.samples import Comparison, Sample
from services.serving.executor import Executor

UNIT = 64
"""Rows of one unit of work: others wait no longer than these take."""
QUESTIONS = 256
"""The same for questions on pairs, most of which share what they read."""

T = TypeVar("T")
R = TypeVar("R")


class WaitingFeedback:
    """interfaces.Feedback in units, on the critic's and the judge's own threads."""

    def __init__(self, feedback: LocalFeedback, critic: Executor, judge: Executor):
        self._feedback = feedback
        self._critic, self._judge = critic, judge
        self.name = feedback.name
        self.template_hash = feedback.template_hash

    @property
    def usage(self) -> Usage:
        return self._feedback.usage

    def critique(self, samples: Sequence[Sample], principle: Principle) -> list[Critique]:
        return _units(samples, lambda unit: self._feedback.critique(unit, principle), self._critic)

    def revise(self, samples: Sequence[Sample], critiques: Sequence[Critique], principle: Principle) -> list[str]:
        def work(unit: Sequence[tuple[Sample, Critique]]) -> list[str]:
            return self._feedback.revise([sample for sample, _ in unit], [critique for _, critique in unit], principle)

        return _units(list(zip(samples, critiques, strict=True)), work, self._critic)

    def compare(self, comparisons: Sequence[Comparison], *principles: Principle) -> list[Vote]:
        pairs = max(1, QUESTIONS // max(1, len(principles)))
        return _units(comparisons, lambda unit: self._feedback.compare(unit, *principles), self._judge, pairs)


def _units(items: Sequence[T], work: Callable[[Sequence[T]], list[R]], executor: Executor, size: int = UNIT) -> list[R]:
    results: list[R] = []
    for start in range(0, len(items), size):
        unit = items[start : start + size]
        results += executor.call(lambda unit=unit: work(unit))
    return results
