"""The model as coroutines: calls become short units on the model's thread, and end when their caller goes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from rlhf_core.constitution.schema import Constitution, Principle
from rlhf_core.feedback.local import LocalFeedback
from rlhf_core.records import BASE_POLICY, Comparison, Critique, Prompt, Sample, Usage, Vote
from rlhf_core.run_records import Score
from services.batches import batches
from services.executor import Executor, Patience
from services.waiting_feedback import WaitingFeedback

UNIT = 128
"""Rows of one unit of work: others wait no longer than these take."""

T = TypeVar("T")
R = TypeVar("R")


class Draw(NamedTuple):
    """How responses are drawn."""

    policy_version: str = BASE_POLICY
    n: int = 1
    temperature: float = 1.0
    max_tokens: int = 64
    seed: int = 0


class Models(Protocol):
    """What the model's thread can do; every method but `feedback` is one unit of work."""

    def generate(self, prompts: Sequence[Prompt], draw: Draw, should_stop: Callable[[], bool]) -> list[Sample]: ...

    def stepwise(self, prompt: Prompt, draw: Draw) -> Iterator[Sample]: ...

    def feedback(self, constitution: Constitution, gone: Callable[[], bool], fresh: bool = False) -> LocalFeedback: ...

    def score(self, samples: Sequence[Sample], reward_model: str) -> list[Score]: ...


class ModelQueue:
    def __init__(
        self, models: Models, executor: Executor, critic: Executor | None = None, judge: Executor | None = None
    ):
        """The critic and the judge work on threads of their own where these are given."""
        self._models = models
        self._executor = executor
        self._critic, self._judge = critic or executor, judge or executor

    async def generate(self, prompts: Sequence[Prompt], draw: Draw) -> list[Sample]:
        """n samples per prompt, grouped by prompt."""
        by_place: dict[int, list[Sample]] = {}
        keys = [prompt.id for prompt in prompts]
        with Patience() as gone:
            for places in batches([draw.n] * len(prompts), UNIT, keys):
                unit = [prompts[place] for place in places]
                samples = await self._executor.run(self._models.generate, unit, draw, gone)
                by_place |= {place: samples[i * draw.n : (i + 1) * draw.n] for i, place in enumerate(places)}
        return [sample for place in range(len(prompts)) for sample in by_place[place]]

    async def stepwise(self, prompt: Prompt, draw: Draw) -> AsyncIterator[Sample]:
        """The sample after each token; every token is a unit of its own."""
        steps = await self._executor.run(self._models.stepwise, prompt, draw)
        while (sample := await self._executor.run(next, steps, None)) is not None:
            yield sample

    def feedback(self, constitution: Constitution) -> LocalFeedback:
        """The critic and the judge as they are under a constitution; asking it would block."""
        return self._models.feedback(constitution, lambda: False)

    def waiting(self, constitution: Constitution, gone: Callable[[], bool]) -> WaitingFeedback:
        """The critic and a judge that begins afresh, for a thread that waits while each of its units takes its turn."""
        return WaitingFeedback(self._models.feedback(constitution, gone, fresh=True), self._critic, self._judge)

    async def critique(
        self, samples: Sequence[Sample], constitution: Constitution, principle: Principle
    ) -> tuple[list[Critique], Usage]:
        with Patience() as gone:
            feedback = self._models.feedback(constitution, gone)
            found = await self._units(samples, lambda unit: feedback.critique(unit, principle), self._critic)
            return found, feedback.usage

    async def revise(
        self,
        samples: Sequence[Sample],
        critiques: Sequence[Critique],
        constitution: Constitution,
        principle: Principle,
    ) -> tuple[list[str], Usage]:
        def work(unit: Sequence[tuple[Sample, Critique]]) -> list[str]:
            return feedback.revise([sample for sample, _ in unit], [critique for _, critique in unit], principle)

        with Patience() as gone:
            feedback = self._models.feedback(constitution, gone)
            written = await self._units(list(zip(samples, critiques, strict=True)), work, self._critic)
            return written, feedback.usage

    async def compare(
        self, comparisons: Sequence[Comparison], constitution: Constitution, principles: Sequence[Principle]
    ) -> tuple[list[Vote], Usage]:
        with Patience() as gone:
            feedback = self._models.feedback(constitution, gone)
            votes = await self._units(comparisons, lambda unit: feedback.compare(unit, *principles), self._judge)
            return votes, feedback.usage

    async def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        """All samples of the first model, then of the second."""
        scores: list[Score] = []
        for model in reward_models:
            scores += await self._units(
                samples, lambda unit, model=model: self._models.score(unit, model), self._executor
            )
        return scores

    async def _units(self, items: Sequence[T], work: Callable[[Sequence[T]], list[R]], executor: Executor) -> list[R]:
        results: list[R] = []
        for start in range(0, len(items), UNIT):
            results += await executor.run(work, items[start : start + UNIT])
        return results
