"""Calls of many callers share the passes of a real tiny model; nobody pays for those who left or went wrong."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from charter.v1 import reward_pb2, reward_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.errors import Exhausted, InvalidInput, NotFound, Unavailable
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.rpc.reward import RewardService
from services.server.server import Server, Service
from services.serving.executor import Executor
from services.serving.loaded_models import ModelLibrary
from services.serving.micro_batcher import Kind, MicroBatcher
from services.serving.model_queue import ModelQueue
from services.wire.samples import sample_to_message

SCORER, OTHER = "reward-helpful", "reward-harmless"


class Machine:
    """A model on its thread, and how many rows each of its passes had."""

    def __init__(self, library: ModelLibrary, store: Store):
        self.library, self.store, self.thread = library, store, Executor("model")
        self.passes: list[int] = []
        library.backbone.model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, _: object, args: tuple, kwargs: dict[str, Any]) -> None:
        self.passes.append(len(kwargs["input_ids"]))

    def queue(self, most_waiting: int = 4096) -> ModelQueue:
        return ModelQueue(self.library, self.thread, most_waiting=most_waiting)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """While the block lasts the model is at work on something else."""
        begun, go = threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            assert go.wait(20)

        done = self.thread.submit(work)
        assert begun.wait(20)
        try:
            yield
        finally:
            go.set()
            done.result(20)


@pytest.fixture(scope="module")
def machine(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[Machine]:
    data = tmp_path_factory.mktemp("batched")
    trained(data)
    store = Store.open(data)
    backbone = Backbone.load(model_config.base_model, model_config)
    library = ModelLibrary(backbone, model_config, model_config.base_model, store, FeedbackConfig())
    machine = Machine(library, store)
    yield machine
    machine.thread.close()
    store.close()


def sample(number: int, length: int = 20) -> Sample:
    prompt = Prompt.of(f"Question {number}")
    return Sample(id=f"s{number}", prompt=prompt, response="y" * length + str(number), policy_version="base")


async def all_wait(machine: Machine, calls: int) -> None:
    """Until each call has asked."""
    while sum(map(len, machine.thread._threads._lines)) < calls:
        await asyncio.sleep(0.001)


async def together(machine: Machine, calls: list[Awaitable[Any]]) -> list[Any]:
    """Results or errors of calls that all came while the model was at work on something else."""
    with machine.busy():
        waiting = asyncio.gather(*calls, return_exceptions=True)
        await all_wait(machine, len(calls))
        machine.passes.clear()
    return await waiting


def test_many_callers_of_one_item_share_one_pass_and_get_what_each_alone_would_get(machine):
    samples = [sample(number) for number in range(40)]

    async def scenario() -> None:
        queue = machine.queue()
        alone = [await queue.score([one], [SCORER]) for one in samples]
        found = await together(machine, [queue.score([one], [SCORER]) for one in samples])
        assert machine.passes == [40]
        assert [scores[0].sample_id for scores in found] == [one.id for one in samples]
        for together_, own in zip(found, alone, strict=True):
            assert together_[0].score == pytest.approx(own[0].score, abs=1e-5)
        assert len({round(scores[0].score, 4) for scores in found}) > 20

    asyncio.run(scenario())


def test_callers_of_two_reward_models_make_one_pass_of_each(machine):
    async def scenario() -> None:
        queue = machine.queue()
        await queue.score([sample(0)], [SCORER, OTHER])
        calls = [queue.score([sample(number)], [(SCORER, OTHER)[number % 2]]) for number in range(10)]
        found = await together(machine, calls)
        assert machine.passes == [5, 5]
        assert [scores[0].reward_model for scores in found] == [(SCORER, OTHER)[number % 2] for number in range(10)]

    asyncio.run(scenario())


def test_a_long_call_is_sorted_by_length_and_answered_in_its_own_order(machine, monkeypatch):
    samples = [sample(number, length=(number * 37) % 300) for number in range(200)]
    units: list[int] = []
    score = machine.library.score
    monkeypatch.setattr(machine.library, "score", lambda unit, *models: units.append(len(unit)) or score(unit, *models))

    async def scenario() -> None:
        queue = machine.queue()
        machine.passes.clear()
        found = await queue.score(samples, [SCORER])
        assert units == [128, 72] and machine.passes == [64, 64, 64, 8]
        assert [score.sample_id for score in found] == [one.id for one in samples]

    asyncio.run(scenario())


def test_cancelled_calls_are_dropped_before_the_model_sees_them(machine):
    async def scenario(cancelled: int) -> list[int]:
        queue = machine.queue()
        await queue.score([sample(0)], [SCORER])
        with machine.busy():
            calls = [asyncio.ensure_future(queue.score([sample(number)], [SCORER])) for number in range(6)]
            await all_wait(machine, 6)
            for call in calls[:cancelled]:
                call.cancel()
            await asyncio.sleep(0.01)
            machine.passes.clear()
        await asyncio.gather(*calls, return_exceptions=True)
        machine.thread.call(lambda: None)
        assert queue._scores.rows == 0
        return list(machine.passes)

    assert asyncio.run(scenario(4)) == [2]
    assert asyncio.run(scenario(6)) == []


def test_a_mistake_in_one_call_is_its_own_affair(machine):
    async def scenario() -> None:
        queue = machine.queue()
        await queue.score([sample(0)], [SCORER])
        calls = [queue.score([sample(number)], [SCORER]) for number in range(7)]
        calls.insert(3, queue.score([sample(99, length=5000)], [SCORER]))
        found = await together(machine, calls)
        assert isinstance(found.pop(3), InvalidInput)
        assert [scores[0].sample_id for scores in found] == [f"s{number}" for number in range(7)]
        # Too long a text is found before a pass; by halves, two or three passes serve the others.
        assert sum(machine.passes) == 7
        assert len(machine.passes) <= 3
        with pytest.raises(NotFound):
            await queue.score([sample(0)], ["no-such-model"])

    asyncio.run(scenario())


@pytest.mark.parametrize("raised", [StopIteration(7), SystemExit(3)], ids=lambda error: type(error).__name__)
def test_a_turn_that_breaks_is_told_to_all_its_callers_at_once(machine, monkeypatch, raised):
    async def scenario() -> None:
        async with reward_service(machine.queue(), machine) as channel:
            stub = reward_pb2_grpc.RewardServiceStub(channel)
            await stub.Score(request(0))
            with monkeypatch.context() as patch:
                patch.setattr(machine.library, "score", broken)
                errors = await together(machine, [stub.Score(request(number), timeout=10) for number in range(3)])
            assert [error.code() for error in errors] == [grpc.StatusCode.INTERNAL] * 3
            assert (await stub.Score(request(1))).scores, "the next call is answered"

    def broken(*_: object) -> None:
        raise raised

    asyncio.run(scenario())


def test_calls_that_wait_for_a_model_that_closes_are_told_so(machine):
    async def scenario() -> None:
        thread = Executor("closing")
        queue = ModelQueue(machine.library, thread)
        begun, go = threading.Event(), threading.Event()
        thread.submit(lambda: (begun.set(), go.wait(20)))
        assert begun.wait(20)
        waits = asyncio.ensure_future(queue.score([sample(0)], [SCORER]))
        await asyncio.sleep(0.01)
        closing = threading.Thread(target=thread.close)
        closing.start()
        with pytest.raises(Unavailable, match="going down"):
            await asyncio.wait_for(waits, 10)
        go.set()
        closing.join()

    asyncio.run(scenario())


def test_a_full_queue_refuses_what_comes_and_recovers(machine):
    async def scenario() -> None:
        queue = machine.queue(most_waiting=4)
        await queue.score([sample(0)], [SCORER])
        found = await together(machine, [queue.score([sample(n), sample(n + 9)], [SCORER]) for n in range(2)])
        assert all(len(scores) == 2 for scores in found)
        with machine.busy():
            waiting = asyncio.gather(*(queue.score([sample(n), sample(n + 9)], [SCORER]) for n in range(2)))
            await all_wait(machine, 2)
            with pytest.raises(Exhausted, match="at most 4") as caught:
                await queue.score([sample(7)], [SCORER])
            assert 0 < caught.value.retry_seconds <= 30
        await waiting
        assert len(await queue.score([sample(7)], [SCORER])) == 1

    asyncio.run(scenario())


def test_a_long_call_takes_no_more_room_than_its_next_unit(machine):
    async def scenario() -> None:
        queue = machine.queue(most_waiting=129)
        with machine.busy():
            long = asyncio.ensure_future(queue.score([sample(number) for number in range(300)], [SCORER]))
            await all_wait(machine, 1)
            assert queue._scores.rows == 128
            short = asyncio.ensure_future(queue.score([sample(7)], [SCORER]))
            await all_wait(machine, 2)
            with pytest.raises(Exhausted):
                await queue.score([sample(8)], [SCORER])
        assert len(await short) == 1
        assert len(await long) == 300
        assert queue._scores.rows == 0

    asyncio.run(scenario())


@asynccontextmanager
async def reward_service(queue: ModelQueue, machine: Machine) -> AsyncIterator[grpc.aio.Channel]:
    """Over a real socket."""
    server, rows = Server("127.0.0.1:0"), Executor("store")
    name = "charter.v1.RewardService"
    servicer = RewardService(queue, machine.store, rows)
    await server.open([name], [])
    await server.offer([Service(name, reward_pb2_grpc.add_RewardServiceServicer_to_server, servicer)])
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel
    await server.close()
    rows.close()


def request(number: int) -> reward_pb2.ScoreRequest:
    return reward_pb2.ScoreRequest(samples=[sample_to_message(sample(number))], reward_models=[SCORER])


def test_a_call_past_its_deadline_costs_no_pass(machine):
    async def scenario() -> None:
        async with reward_service(machine.queue(), machine) as channel:
            stub = reward_pb2_grpc.RewardServiceStub(channel)
            await stub.Score(request(0))
            with machine.busy():
                late = [asyncio.ensure_future(stub.Score(request(number), timeout=0.2)) for number in range(5)]
                stays = asyncio.ensure_future(stub.Score(request(5), timeout=20))
                await all_wait(machine, 6)
                for error in await asyncio.gather(*late, return_exceptions=True):
                    assert isinstance(error, grpc.aio.AioRpcError)
                    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED
                await asyncio.sleep(0.1)  # the server's clock may be a moment behind the client's
                machine.passes.clear()
            assert (await stays).scores[0].sample_id == "s5"
            assert machine.passes == [1]

    asyncio.run(scenario())


def test_health_is_answered_while_the_model_is_at_work(machine):
    async def scenario() -> None:
        async with reward_service(machine.queue(), machine) as channel:
            with machine.busy():
                waits = asyncio.ensure_future(reward_pb2_grpc.RewardServiceStub(channel).Score(request(1)))
                await all_wait(machine, 1)
                health = health_pb2_grpc.HealthStub(channel)
                answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
                assert not waits.done()
            await waits

    asyncio.run(scenario())


def test_a_full_queue_says_over_the_wire_when_to_come_back(machine):
    async def scenario() -> None:
        async with reward_service(machine.queue(most_waiting=1), machine) as channel:
            stub = reward_pb2_grpc.RewardServiceStub(channel)
            await stub.Score(request(0))
            with machine.busy():
                waits = asyncio.ensure_future(stub.Score(request(1)))
                await all_wait(machine, 1)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.Score(request(2))
            await waits
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            status, info = rpc_status.from_call(caught.value), error_details_pb2.RetryInfo()
            assert any(detail.Unpack(info) for detail in status.details)
            assert info.retry_delay.ToNanoseconds() > 0

    asyncio.run(scenario())


def test_comparisons_of_many_callers_cost_the_passes_of_one(machine):
    constitution = load_constitution("household")
    pairs = [Comparison(id=f"c{number}", a=sample(number), b=sample(number, 30)) for number in range(6)]
    principles = constitution.principles[:2]

    async def scenario() -> None:
        queue = machine.queue()
        machine.passes.clear()
        whole, _ = await queue.compare(pairs, constitution, principles)
        of_one = len(machine.passes)
        machine.library._notebooks[0].clear()
        found = await together(machine, [queue.compare([pair], constitution, principles) for pair in pairs])
        assert len(machine.passes) == of_one
        assert [vote for votes, _ in found for vote in votes] == whole

    asyncio.run(scenario())


def test_critiques_of_many_callers_under_several_principles_share_their_passes(machine):
    constitution = load_constitution("household")
    principles = [principle for principle in constitution.principles if principle.critique][:2]
    asked = [(sample(number), principles[number % 2]) for number in range(6)]

    async def scenario() -> None:
        queue = machine.queue()
        alone, passes = [], []
        for one, principle in asked:
            machine.passes.clear()
            alone.append((await queue.critique([one], constitution, principle))[0])
            passes.append(len(machine.passes))
        found = await together(machine, [queue.critique([one], constitution, rule) for one, rule in asked])
        assert [critiques for critiques, _ in found] == alone
        assert max(passes) <= len(machine.passes) < sum(passes) / 2
        assert {critique.principle_id for (critique,), _ in found} == {principle.id for principle in principles}

    asyncio.run(scenario())


def test_calls_of_like_length_go_together_and_the_oldest_is_always_among_them():
    units: list[list[int]] = []

    def work(items, _):
        units.append(list(items))
        return items

    async def scenario() -> None:
        thread = Executor("lengths")
        batcher, kind = MicroBatcher(thread), Kind("k", work, lambda item: item, 4)
        go = threading.Event()
        blocked = thread.submit(lambda: go.wait(10))
        waiting = asyncio.gather(*(batcher.ask(kind, [length]) for length in (50, 3, 90, 2, 91, 1, 51, 92)))
        while len(batcher._waiting) < 8:
            await asyncio.sleep(0)
        go.set()
        assert await waiting == [[50], [3], [90], [2], [91], [1], [51], [92]]
        blocked.result()
        thread.close()

    asyncio.run(scenario())
    assert units == [[1, 2, 3, 50], [51, 90, 91, 92]]
