"""Health of the process, its services and its models: while they load, while they serve, while they leave."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue

import grpc
import pytest
from charter.v1 import trainer_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rlhf_core.errors import Loading, NotFound, Unavailable
from services.client import connection
from services.client.client import CharterClient
from services.server.server import Server, Service

TRAINER = "charter.v1.TrainerService"
NOT_SERVING, SERVING = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING


class Empty(trainer_pb2_grpc.TrainerServiceServicer):
    def __init__(self, seconds: float = 0.0):
        self._seconds = seconds
        self.called = threading.Event()

    async def GetRun(self, request: object, context: object) -> object:
        self.called.set()
        await asyncio.sleep(self._seconds)
        raise NotFound("no run here")


class Opened:
    """A server on a loop of its own, which has been opened and offers nothing yet."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self.server: Server = self.do(self._open)

    async def _open(self) -> Server:
        return await self.again("127.0.0.1:0")

    async def again(self, address: str) -> Server:
        server = Server(address)
        await server.open([TRAINER], ["model:judge"])
        return server

    def do(self, work: Callable):
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    def offer(self, servicer: Empty | None = None) -> None:
        add = trainer_pb2_grpc.add_TrainerServiceServicer_to_server
        service = Service(TRAINER, add, servicer or Empty())
        self.do(lambda: self.server.offer([service]))


@pytest.fixture
def opened() -> Iterator[Opened]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    found = Opened(loop)
    yield found
    found.do(found.server.close)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def health(opened: Opened) -> Iterator[health_pb2_grpc.HealthStub]:
    with grpc.insecure_channel(opened.server.address) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def state(health: health_pb2_grpc.HealthStub, name: str) -> int:
    return health.Check(health_pb2.HealthCheckRequest(service=name), timeout=5).status


def watched(health: health_pb2_grpc.HealthStub, name: str) -> tuple[Queue, threading.Thread]:
    """The states that a watcher is told, and the thread that ends with its stream."""
    told: Queue = Queue()

    def watch() -> None:
        for answer in health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=20):
            told.put(answer.status)

    thread = threading.Thread(target=watch)
    thread.start()
    return told, thread


@pytest.mark.usefixtures("one_try")
def test_process_services_and_models_do_not_serve_before_they_are_there(
    opened: Opened, health: health_pb2_grpc.HealthStub
):
    names = ("", TRAINER, "model:judge")
    assert [state(health, name) for name in names] == [NOT_SERVING] * 3
    with CharterClient.connect(opened.server.address) as client, pytest.raises(Unavailable):
        client.trainer.get_run("r")
    opened.offer()
    assert [state(health, name) for name in names] == [SERVING] * 3
    with CharterClient.connect(opened.server.address) as client, pytest.raises(NotFound):
        client.trainer.get_run("r")


def test_a_patient_client_is_answered_as_soon_as_the_service_is_there(opened: Opened):
    timer = threading.Timer(1.0, opened.offer)
    timer.start()
    with (
        CharterClient.connect(opened.server.address, patience_seconds=30) as client,
        pytest.raises(NotFound, match="no run here"),
    ):
        client.trainer.get_run("r")
    timer.join()


def test_patience_outlasts_the_tries_of_the_channel_itself(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "OPTIONS", (*connection.OPTIONS, ("grpc.enable_retries", 0)))
    timer = threading.Timer(1.0, opened.offer)
    timer.start()
    with CharterClient.connect(opened.server.address) as client, pytest.raises(Loading, match="being loaded"):
        client.trainer.get_run("r")
    with (
        CharterClient.connect(opened.server.address, patience_seconds=30) as client,
        pytest.raises(NotFound, match="no run here"),
    ):
        client.trainer.get_run("r")
    timer.join()


@pytest.mark.slow
def test_patience_ends_when_the_call_is_no_longer_wanted(opened: Opened):
    with (
        CharterClient.connect(opened.server.address, patience_seconds=600) as client,
        pytest.raises(Unavailable),
    ):
        client.until(lambda: True).trainer.get_run("r")


def test_an_unknown_name_is_not_found_and_the_known_ones_are_listed(health: health_pb2_grpc.HealthStub):
    with pytest.raises(grpc.RpcError) as caught:
        state(health, "model:poet")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert "model:judge" in caught.value.details()


def test_every_watcher_is_told_each_change_also_when_another_one_leaves(
    opened: Opened, health: health_pb2_grpc.HealthStub
):
    told, thread = watched(health, "model:judge")
    assert told.get(timeout=5) == NOT_SERVING
    with grpc.insecure_channel(opened.server.address) as other:
        request = health_pb2.HealthCheckRequest(service="model:judge")
        assert next(health_pb2_grpc.HealthStub(other).Watch(request, timeout=5)).status == NOT_SERVING
    opened.offer()
    assert told.get(timeout=5) == SERVING
    opened.do(opened.server.leave)
    assert told.get(timeout=5) == NOT_SERVING
    thread.join(5)
    assert not thread.is_alive(), "a watcher that stays would hold up the stop"


def test_a_server_that_leaves_still_answers_until_it_drains(opened: Opened, health: health_pb2_grpc.HealthStub):
    opened.offer()
    with CharterClient.connect(opened.server.address) as client:
        opened.do(opened.server.leave)
        assert state(health, "") == NOT_SERVING
        with pytest.raises(NotFound):
            client.trainer.get_run("r")


@pytest.mark.usefixtures("one_try")
@pytest.mark.parametrize(("grace", "ends"), [(10.0, NotFound), (0.1, Unavailable)])
def test_a_call_at_work_may_finish_within_the_grace_period(opened: Opened, grace: float, ends: type[Exception]):
    slow = Empty(seconds=1.0)
    opened.offer(slow)
    with CharterClient.connect(opened.server.address) as client, ThreadPoolExecutor() as pool:
        call = pool.submit(client.trainer.get_run, "r")
        assert slow.called.wait(5)
        opened.do(lambda: opened.server.drain(grace))
        with pytest.raises(ends):
            call.result(10)


def test_a_call_on_a_closed_connection_is_no_internal_error(opened: Opened):
    client = CharterClient.connect(opened.server.address)
    client.close()
    with pytest.raises(Unavailable, match="has been closed"):
        client.trainer.get_run("r")


@pytest.mark.slow
def test_patience_counts_from_when_the_server_was_lost(opened: Opened, monkeypatch: pytest.MonkeyPatch):
    """The call lasts longer than the patience before its server goes; the one that comes then still answers it."""
    monkeypatch.setattr(connection, "FOUND_SECONDS", 0.5)
    first, second = Empty(seconds=30.0), Empty()
    opened.offer(first)
    with (
        CharterClient.connect(opened.server.address, patience_seconds=1.5) as client,
        ThreadPoolExecutor() as pool,
    ):
        call = pool.submit(client.trainer.get_run, "r")
        assert first.called.wait(5)
        time.sleep(2.0)
        opened.do(lambda: opened.server.drain(0.0))
        opened.server = opened.do(lambda: opened.again(opened.server.address))
        opened.offer(second)
        with pytest.raises(NotFound, match="no run here"):
            call.result(10)
