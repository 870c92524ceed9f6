"""The model as coroutines: calls share units of work on the model's thread, and end when their caller goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Comparison, Prompt, Sample
from services.serving.blocking_feedback import WaitingFeedback
from services.serving.executor import Executor, Patience
from services.serving.micro_batcher import MOST_WAITING, Kind, MicroBatcher

if TYPE_CHECKING:
    # It reaches torch, which a server without models does without.
    from services.serving.backends import PanelBackend

UNIT = 128
"""Rows of one unit of work: others wait no longer than these take."""
QUESTIONS = 512
"""The same for questions on pairs, most of which share what they read."""

T = TypeVar("T")
R = TypeVar("R")


class Models(Protocol):
    """What the model's thread can do; every method but `feedback` is one unit of work."""

    @property
    def panel(self) -> Sequence[PanelBackend]: ...

    def feedback(
        self, constitution: Constitution, gone: Callable[[], bool], fresh: bool = False, seat: int = 0
    ) -> ModelFeedback: ...

    def score(self, samples: Sequence[Sample], *reward_models: str) -> list[Score]: ...


class Line(NamedTuple):
    """Where the critic or the judge is asked."""

    thread: Executor
    batcher: MicroBatcher
    bills: bool
    """An endpoint is paid for what each call asks of it, so calls are not mixed there."""


class ModelQueue:
    def __init__(
        self,
        models: Models,
        executor: Executor,
        critic: Executor | None = None,
        judge: Executor | None = None,
        most_waiting: int = MOST_WAITING,
        others: Sequence[Executor | None] = (),
    ):
        """A critic or a judge with a thread of its own is an endpoint; others work behind the calls on `executor`.

        Scores, critiques and the comparisons of each judge have a queue each, in which at most `most_waiting` rows
        wait. `others` are where the judges of a panel work after its first, who is the judge.
        """
        self._models = models
        self._scores = MicroBatcher(executor, most_waiting, "scores")

        def line(own: Executor | None, name: str) -> Line:
            thread = own or executor.behind()
            return Line(thread, MicroBatcher(thread, most_waiting, name), own is not None)

        self._critic = line(critic, "critic")
        self._judges = [line(judge, "judge"), *(line(other, "judge") for other in others)]

    @property
    def panel(self) -> Sequence[PanelBackend]:
        """The judges that label together; none where one judge labels alone."""
        return self._models.panel

    def feedback(self, constitution: Constitution, seat: int = 0) -> ModelFeedback:
        """Return the critic and the judge as they are under a constitution; asking it would block."""
        return self._models.feedback(constitution, lambda: False, seat=seat)

    def waiting(self, constitution: Constitution, gone: Callable[[], bool]) -> WaitingFeedback:
        """Return the critic and a judge that begins afresh, for a thread that waits as its units take their turn."""
        feedback = self._models.feedback(constitution, gone, fresh=True)
        return WaitingFeedback(feedback, self._critic.thread, self._judges[0].thread)

    async def critique(
        self, samples: Sequence[Sample], constitution: Constitution, principle: Principle
    ) -> tuple[list[Critique], Usage]:
        def work(feedback: ModelFeedback, unit: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
            return feedback.critique(unit)

        asked = [(sample, principle) for sample in samples]
        return await self._ask(self._critic, constitution, "critique", work, asked, lambda one: _sample_length(one[0]))

    async def revise(
        self,
        samples: Sequence[Sample],
        critiques: Sequence[Critique],
        constitution: Constitution,
        principle: Principle,
    ) -> tuple[list[str], Usage]:
        def work(feedback: ModelFeedback, unit: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
            return feedback.revise(unit)

        asked = [(sample, critique, principle) for sample, critique in zip(samples, critiques, strict=True)]
        return await self._ask(self._critic, constitution, "revise", work, asked, lambda one: _sample_length(one[0]))

    async def compare(
        self,
        comparisons: Sequence[Comparison],
        constitution: Constitution,
        principles: Sequence[Principle],
        seat: int = 0,
    ) -> tuple[list[Vote], Usage]:
        """Ask for two votes for each comparison and each principle on it; of a panel the judge of this `seat`."""

        def work(feedback: ModelFeedback, unit: Sequence[tuple[Comparison, Principle]]) -> list[tuple[Vote, Vote]]:
            votes = feedback.compare(unit)
            return list(zip(votes[::2], votes[1::2], strict=True))

        questions = [(pair, principle) for pair in comparisons for principle in principles]
        votes, usage = await self._ask(
            *(self._judges[seat], constitution, "compare", work, questions),
            *(lambda asked: _pair_length(asked[0]), QUESTIONS, seat),
        )
        return [vote for both in votes for vote in both], usage

    async def score(
        self, samples: Sequence[Sample], reward_models: Sequence[str], trunks: Mapping[str, str] | None = None
    ) -> list[Score]:
        """Score all samples by the first model, then by the second.

        Models of one of the `trunks` share their passes.
        """
        groups: dict[str, list[str]] = {}
        for model in dict.fromkeys(reward_models):
            groups.setdefault((trunks or {}).get(model, model), []).append(model)

        def kind(models: tuple[str, ...]) -> Kind:
            def work(unit: Sequence[Sample], _: Callable[[], bool]) -> list[tuple[Score, ...]]:
                scores, rows = self._models.score(unit, *models), len(unit)
                return list(zip(*(scores[i * rows :][:rows] for i in range(len(models))), strict=True))

            return Kind(models, work, _sample_length, UNIT)

        asked = [tuple(group) for group in groups.values()]
        asking = [self._scores.ask(kind(models), samples) for models in asked]
        # Most calls name one model, and a task of its own for it would only take time.
        found = [await asking[0]] if len(asking) == 1 else await asyncio.gather(*asking)
        by_model = {
            model: [row[place] for row in rows]
            for models, rows in zip(asked, found, strict=True)
            for place, model in enumerate(models)
        }
        return [score for model in reward_models for score in by_model[model]]

    async def _ask(
        self,
        line: Line,
        constitution: Constitution,
        kind: str,
        work: Callable[[ModelFeedback, Sequence[T]], list[R]],
        items: Sequence[T],
        length: Callable[[T], int],
        unit: int = UNIT,
        seat: int = 0,
    ) -> tuple[list[R], Usage]:
        """Calls of one kind under one constitution share their units, unless an endpoint bills for each."""
        with Patience() as gone:
            own = self._models.feedback(constitution, gone, seat=seat)

            def ask(rows: Sequence[T], all_gone: Callable[[], bool]) -> list[R]:
                return work(own if line.bills else self._models.feedback(constitution, all_gone, seat=seat), rows)

            shared = object() if line.bills else (constitution.hash, kind)
            return await line.batcher.ask(Kind(shared, ask, length, unit), items), own.usage


def _sample_length(sample: Sample) -> int:
    return len(sample.response) + _prompt_length(sample.prompt)


def _pair_length(pair: Comparison) -> int:
    return len(pair.a.response) + len(pair.b.response) + _prompt_length(pair.prompt)


def _prompt_length(prompt: Prompt) -> int:
    return sum(len(message.content) for message in prompt.messages)
