"""The critic and the judge for a thread that may wait: each unit takes its turn on the thread that owns the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from rlhf_core.constitution.constitution import Principle
from rlhf_core.feedback.model_feedback import ModelFeedback
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

    def __init__(self, feedback: ModelFeedback, critic: Executor, judge: Executor):
        self._feedback = feedback
        self._critic, self._judge = critic, judge
        self.name = feedback.name
        self.template_hash = feedback.template_hash

    @property
    def usage(self) -> Usage:
        return self._feedback.usage

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        return _units(items, self._feedback.critique, self._critic)

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        return _units(items, self._feedback.revise, self._critic)

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        return _units(questions, self._feedback.compare, self._judge, QUESTIONS)


def _units(items: Sequence[T], work: Callable[[Sequence[T]], list[R]], executor: Executor, size: int = UNIT) -> list[R]:
    results: list[R] = []
    for start in range(0, len(items), size):
        unit = items[start : start + size]
        results += executor.call(lambda unit=unit: work(unit))
    return results
