"""Rounds of critique and revision as a stream, over a real socket: by a critic of rules, and by a tiny model."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.feedback.revision import revision_rounds
from rlhf_core.records.feedback import Critique
from rlhf_core.records.samples import Sample
from services.client.critique import CritiqueClient
from services.rpc.revise_stream import RevisionDesk
from services.server.interceptors import ErrorInterceptor
from services.serving.executor import Executor
from services.wire.revisions import RevisionsEnd, RevisionStep, from_answer
from services.wire.samples import sample_to_message
from services.wire.status import error_from_call
from tests.feedback.rule_feedback import LAW, Rules, sample

ANSWERS = [sample(f"use {word} then soap {n}") for n in range(12) for word in ("acid", "fire", "milk")]


class Ruled(critique_pb2_grpc.CritiqueServiceServicer):
    """ReviseStream with a critic of rules, under a constitution of two principles that revise."""

    def __init__(self) -> None:
        self.feedback: Any = Rules()
        self.gone: Callable[[], bool] = lambda: False
        """Whether the caller of the last call has gone."""
        models: Any = SimpleNamespace(waiting=self._waiting)
        constitutions: Any = SimpleNamespace(find=self._find)
        self._desk = RevisionDesk(models, constitutions, Executor("rows"))

    def _waiting(self, constitution: object, gone: Callable[[], bool]) -> Any:
        self.gone = gone
        return self.feedback

    @staticmethod
    def _find(name: str):
        if name not in ("", "law"):
            raise NotFound(f"no constitution '{name}'")
        return LAW, ""

    async def ReviseStream(self, request, context):
        async for answer in self._desk.revise(request):
            yield answer


class Ruling:
    """A client of it."""

    def __init__(self, servicer: Ruled, channel: grpc.Channel):
        self.servicer = servicer
        self._stub = critique_pb2_grpc.CritiqueServiceStub(channel)

    def call(self, samples: list[Sample], **fields: Any):
        messages = [sample_to_message(sample) for sample in samples]
        return self._stub.ReviseStream(critique_pb2.ReviseStreamRequest(samples=messages, **fields))

    def ask(self, samples: list[Sample], **fields: Any) -> list[Critique | RevisionStep | RevisionsEnd]:
        return [from_answer(answer) for answer in self.call(samples, **fields)]


@pytest.fixture(scope="module")
def ruling(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ruling]:
    address = f"unix:{tmp_path_factory.mktemp('r')}/s"
    loop, ready = asyncio.new_event_loop(), Future()

    async def start() -> None:
        server, servicer = grpc.aio.server(interceptors=[ErrorInterceptor()]), Ruled()
        critique_pb2_grpc.add_CritiqueServiceServicer_to_server(servicer, server)
        server.add_insecure_port(address)
        await server.start()
        ready.set_result((server, servicer))

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result()
    server, servicer = ready.result()
    with grpc.insecure_channel(address) as channel:
        yield Ruling(servicer, channel)
    asyncio.run_coroutine_threadsafe(server.stop(None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


def test_the_stream_does_what_a_run_does_step_by_step(ruling):
    config = CritiqueConfig(rounds=2)
    wanted = [step for steps in revision_rounds(ANSWERS, LAW, Rules(), config, seed=3) for step in steps]
    *told, end = ruling.ask(ANSWERS, rounds=2, seed=3)
    steps = [one for one in told if isinstance(one, RevisionStep)]
    assert {(s.sample_id, s.round, s.before, s.after, s.accepted, s.reason) for s in steps} == {
        (s.sample_id, s.round + 1, s.before, s.after, s.accepted, s.reason) for s in wanted
    }
    assert len(steps) == len(wanted) == 72
    assert [step.round for step in steps] == [1] * 36 + [2] * 36
    assert isinstance(end, RevisionsEnd)
    assert [text.split()[1] for text in end.responses] == ["water", "water", "milk"] * 12
    assert end.counts == {"in": 72, "accepted": 24, "complies": 48}


def test_every_critique_is_told_before_its_step_and_long_before_the_end(ruling):
    told = ruling.ask(ANSWERS, rounds=1)
    waiting: list[str] = []
    for one in told[:-1]:
        if isinstance(one, Critique):
            waiting.append(one.sample_id)
        else:
            assert isinstance(one, RevisionStep) and one.critique.sample_id == one.sample_id
            waiting.remove(one.sample_id)
        assert len(waiting) <= 8
    assert waiting == []


def test_only_the_principles_named_are_drawn(ruling):
    *told, end = ruling.ask(ANSWERS[:3], principle_ids=["no-fire"], rounds=5)
    assert {one.critique.principle_id for one in told if isinstance(one, RevisionStep)} == {"no-fire"}
    assert isinstance(end, RevisionsEnd) and [r.split()[1] for r in end.responses] == ["acid", "water", "milk"]


def test_without_verification_a_revision_needs_no_judge(ruling):
    never = Rules(judge=lambda a, b, swapped: 0.1)
    ruling.servicer.feedback = never
    try:
        assert ruling.ask(ANSWERS[:1], rounds=2)[-1].counts["rejected.not_better"] == 1
        before = never.compared
        assert ruling.ask(ANSWERS[:1], rounds=2, verify=False)[-1].counts["accepted"] == 1
        assert never.compared == before
    finally:
        ruling.servicer.feedback = Rules()


@pytest.mark.parametrize(
    ("samples", "fields", "field"),
    [
        ([], {}, "samples"),
        ([ANSWERS[0], ANSWERS[1], ANSWERS[0]], {}, "samples[2]"),
        (ANSWERS[:1], {"rounds": 33}, "rounds"),
        (ANSWERS[:1], {"rounds": -1}, "rounds"),
        (ANSWERS[:1], {"principle_ids": ["no-acid", "only-compares"]}, "principle_ids[1]"),
        (ANSWERS[:1], {"principle_ids": ["kindness"]}, "principle_ids[0]"),
    ],
)
def test_a_mistake_names_its_field(ruling, samples, fields, field):
    with pytest.raises(grpc.RpcError) as caught:
        ruling.ask(samples, **fields)
    error = error_from_call(caught.value, "there")
    assert isinstance(error, InvalidInput) and error.field == field


def test_a_caller_who_goes_stops_the_work(ruling):
    class Held(Rules):
        """Answers once, then only after the caller has gone."""

        asked = 0

        def critique(self, items):
            Held.asked += 1
            assert Held.asked == 1 or gone.wait(10)
            return super().critique(items)

    gone = threading.Event()
    many = [sample(f"use acid then soap {n}") for n in range(400)]
    ruling.servicer.feedback = Held()
    try:
        call = ruling.call(many, rounds=2)
        next(call)
        call.cancel()
        deadline = time.monotonic() + 10
        while not ruling.servicer.gone() and time.monotonic() < deadline:
            time.sleep(0.01)
        gone.set()
        time.sleep(0.3)
        assert Held.asked <= 2
    finally:
        ruling.servicer.feedback = Rules()


def test_a_model_revises_round_by_round_through_the_client(served):
    client: CritiqueClient = served.client.critique
    samples = [sample("put it all in the bin"), sample("use soap")]
    told = list(client.revise_stream(samples, "household", rounds=2, seed=1))
    steps = [one for one in told if isinstance(one, RevisionStep)]
    assert sorted((step.sample_id, step.round) for step in steps) == sorted(
        (one.id, number) for one in samples for number in (1, 2)
    )
    end = told[-1]
    assert isinstance(end, RevisionsEnd) and len(end.responses) == 2
    assert end.counts["in"] == 4 == sum(count for name, count in end.counts.items() if name not in ("in", "stripped"))
