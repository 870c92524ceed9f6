"""Comparing and testing constitutions on a server: the judge works in its turn, the caller hears of progress."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from charter.v1 import critique_pb2

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import diff_constitutions
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.effects.edit_cost import bill
from rlhf_core.effects.measure import measure_effects
from rlhf_core.effects.probes import DEFAULT_PAIRS, Probes, chosen_probes, world_probes
from rlhf_core.effects.report import EffectReport
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.principle_tests import TestResult, try_principles
from rlhf_core.interfaces import World
from rlhf_core.store.store import Store
from services.rpc.constitutions import Constitutions
from services.serving.executor import Executor, Patience
from services.serving.model_queue import ModelQueue
from services.serving.thread_updates import Updates, stop_if
from services.wire.constitutions import diff_to_message, test_result_to_message
from services.wire.samples import comparisons_from_messages

MAX_PAIRS = 5000

Update = critique_pb2.DiffConstitutionsResponse
Step = Callable[[str, int, int], None]


class ConstitutionDesk:
    """Answers about constitutions for one server."""

    def __init__(
        self,
        models: ModelQueue,
        constitutions: Constitutions,
        store: Store,
        io: Executor,
        world: World | None,
        labels: LabelConfig,
    ):
        """`world` is the built-in one of the base model, where it has one; `labels` say how votes become labels."""
        self._labels = labels
        self._models = models
        self._constitutions = constitutions
        self._store = store
        self._io = io
        self._world = world

    async def diff(self, request: critique_pb2.DiffConstitutionsRequest) -> AsyncIterator[Update]:
        """Yield the difference and its bill; with effects, progress and the report."""
        before, old = await self._io.run(self._find, request.before, "before")
        after, new = await self._io.run(self._find, request.after, "after")
        diff = diff_constitutions(before, after, (old, new))
        counted = await self._io.run(bill, diff, before, after, self._store)
        yield Update(diff=diff_to_message(diff, counted))
        if not request.effects:
            return
        probes = await self._io.run(self._probes, request)
        with Patience() as gone:
            updates: Updates[Update] = Updates(gone)

            def step(phase: str, done: int, total: int) -> None:
                progress = critique_pb2.DiffProgress(phase=phase, done=done, total=total)
                updates.tell(Update(progress=progress))

            def measure() -> EffectReport:
                judge = self._models.waiting
                return measure_effects(
                    *(before, after, diff, counted, probes),
                    lambda constitution: judge(constitution, gone),
                    self._labels,
                    step,
                )

            work = asyncio.ensure_future(asyncio.to_thread(measure))
            async for update in updates.until(work):
                yield update
            yield Update(effects_json=(await work).model_dump_json())

    async def test(self, request: critique_pb2.TestConstitutionRequest) -> critique_pb2.TestConstitutionResponse:
        constitution, _ = await self._io.run(self._find, request.constitution, "constitution")
        asked = request.principle_ids
        principles = [constitution.principle(name) for name in asked] or list(constitution.principles)
        with Patience() as gone:
            judge = self._models.waiting(constitution, gone)

            def tick(done: int, total: int) -> None:
                stop_if(gone)

            def work() -> list[TestResult]:
                return try_principles(principles, judge, self._labels, tick)

            results = await asyncio.to_thread(work)
        messages = [test_result_to_message(result) for result in results]
        return critique_pb2.TestConstitutionResponse(judge=judge.name, results=messages)

    def _find(self, source: critique_pb2.ConstitutionSource, field: str) -> tuple[Constitution, str]:
        """The constitution and what to call it."""
        if source.WhichOneof("source") == "yaml_text":
            name = source.name or f"{field}.yaml"
            return parse_constitution(source.yaml_text, name), name
        constitution, _ = self._constitutions.find(source.constitution)
        return constitution, source.name or source.constitution

    def _probes(self, request: critique_pb2.DiffConstitutionsRequest) -> Probes:
        n = request.pairs or DEFAULT_PAIRS
        if not 1 <= n <= MAX_PAIRS:
            raise InvalidInput(f"pairs: {n} is not allowed; allowed: 1 to {MAX_PAIRS}", "pairs")
        if request.probes:
            pairs = comparisons_from_messages(request.probes)
            return chosen_probes(pairs, "the caller's pairs", n, request.seed)
        if self._world is None:
            raise InvalidInput("probes: this model has no built-in tasks; give pairs of your own", "probes")
        return world_probes(self._world, n, request.seed)
