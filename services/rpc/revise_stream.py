"""Rounds of critique and revision for one caller: the model works in its turn, every step is told as it is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from charter.v1 import critique_pb2

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.revision import count_steps, critique_settings, revision_rounds
from rlhf_core.records.feedback import Critique, Revision, Usage, Vote
from rlhf_core.records.samples import Comparison, Sample
from services.rpc.constitutions import Constitutions
from services.serving.blocking_feedback import WaitingFeedback
from services.serving.executor import Executor, Patience
from services.serving.model_queue import ModelQueue
from services.serving.thread_updates import Updates
from services.wire.revisions import step_to_message
from services.wire.samples import critique_to_message, samples_from_messages, usage_to_message

AT_ONCE = 8
"""Samples of one step of work: the first of many are told soon, and a batch still pays."""
MAX_ROUNDS = 32

Answer = critique_pb2.ReviseStreamResponse


class RevisionDesk:
    """Answers ReviseStream for one server."""

    def __init__(self, models: ModelQueue, constitutions: Constitutions, io: Executor):
        self._models = models
        self._constitutions = constitutions
        self._io = io

    async def revise(self, request: critique_pb2.ReviseStreamRequest) -> AsyncIterator[Answer]:
        """Yield critiques and steps, and the end with every sample's answer."""
        samples = _distinct(samples_from_messages(request.samples))
        constitution, _ = await self._io.run(self._constitutions.find, request.constitution)
        drawn_from = _restricted(constitution, list(request.principle_ids))
        config = _config(drawn_from, request)
        with Patience() as gone:
            updates: Updates[Answer] = Updates(gone)
            feedback = Telling(self._models.waiting(constitution, gone), updates.tell)
            steps: list[Revision] = []

            def work() -> None:
                for done in revision_rounds(samples, drawn_from, feedback, config, request.seed, AT_ONCE):
                    steps.extend(done)
                    for step in done:
                        updates.tell(Answer(step=step_to_message(step)))

            running = asyncio.ensure_future(asyncio.to_thread(work))
            async for update in updates.until(running):
                yield update
            await running
        yield Answer(end=_end(samples, steps, feedback))


class Telling:
    """interfaces.Feedback that tells its critiques as they are made."""

    def __init__(self, feedback: WaitingFeedback, tell: Callable[[Answer], None]):
        self._feedback = feedback
        self._tell = tell
        self.name = feedback.name
        self.template_hash = feedback.template_hash

    @property
    def usage(self) -> Usage:
        return self._feedback.usage

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        critiques = self._feedback.critique(items)
        for critique in critiques:
            self._tell(Answer(critique=critique_to_message(critique)))
        return critiques

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        return self._feedback.revise(items)

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        return self._feedback.compare(questions)


def _distinct(samples: list[Sample]) -> list[Sample]:
    """Steps belong to samples by their ids."""
    seen: set[str] = set()
    for index, sample in enumerate(samples):
        if sample.id in seen:
            field = f"samples[{index}]"
            raise InvalidInput(f"{field}: '{sample.id}' has come already; give each sample once", field)
        seen.add(sample.id)
    return samples


def _restricted(constitution: Constitution, ids: Sequence[str]) -> Constitution:
    """The constitution to draw principles from. Raises InvalidInput for one that cannot revise."""
    able = {principle.id: principle for principle in constitution.critiquing()}
    for index, name in enumerate(ids):
        field = f"principle_ids[{index}]"
        if name not in able:
            raise InvalidInput(f"{field}: '{name}' is none that revises; allowed: {', '.join(able)}", field)
    return constitution.model_copy(update={"principles": tuple(able[name] for name in dict.fromkeys(ids or able))})


def _config(constitution: Constitution, request: critique_pb2.ReviseStreamRequest) -> CritiqueConfig:
    if not 0 <= request.rounds <= MAX_ROUNDS:
        raise InvalidInput(f"rounds: {request.rounds}; allowed: 0 to {MAX_ROUNDS}", "rounds")
    config = critique_settings(constitution, CritiqueConfig())
    verify = request.verify if request.HasField("verify") else config.verify
    return config.model_copy(update={"rounds": request.rounds or config.rounds, "verify": verify})


def _end(samples: Sequence[Sample], steps: Sequence[Revision], feedback: Telling) -> critique_pb2.ReviseStreamEnd:
    last = {sample.id: sample.response for sample in samples}
    last |= {step.sample_id: step.after for step in steps if step.accepted}
    return critique_pb2.ReviseStreamEnd(
        responses=list(last.values()), counts=count_steps(steps), usage=usage_to_message(feedback.usage)
    )
