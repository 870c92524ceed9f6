"""Errors on the wire: each with its reason and details, small enough for every peer, and readable where it arrives."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future

import grpc
import pytest
from charter.v1 import trainer_pb2, trainer_pb2_grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import (
    CharterError,
    Conflict,
    Exhausted,
    InvalidInput,
    LeaseLost,
    NotFound,
    RequestReused,
    Stale,
    TrainingFailed,
    Unavailable,
    Violation,
)
from services.client.connection import Connection
from services.server.server import ErrorInterceptor
from services.wire.status import error_from_call, status_of


class Raising(trainer_pb2_grpc.TrainerServiceServicer):
    error: Exception = CharterError("nothing set")

    async def GetRun(self, request, context):
        raise self.error

    async def WatchRun(self, request, context):
        yield trainer_pb2.WatchRunResponse()
        raise self.error


@pytest.fixture(scope="module")
def raising(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Raising, Connection]]:
    """A server whose methods raise what it is told to, and a connection to it."""
    address, servicer = f"unix:{tmp_path_factory.mktemp('s')}/s", Raising()
    loop, ready = asyncio.new_event_loop(), Future()

    async def start() -> None:
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(servicer, server)
        server.add_insecure_port(address)
        await server.start()
        ready.set_result(server)

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(start(), loop).result()
    connection = Connection(address, timeout_seconds=20)
    yield servicer, connection
    connection.close()
    asyncio.run_coroutine_threadsafe(ready.result().stop(None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@pytest.fixture
def answer(raising: tuple[Raising, Connection]) -> Callable[[Exception], CharterError]:
    """What a client raises when the server raises an error."""
    servicer, connection = raising
    stub = trainer_pb2_grpc.TrainerServiceStub(connection.channel)

    def ask(error: Exception) -> CharterError:
        servicer.error = error
        with pytest.raises(CharterError) as caught:
            connection.call(stub.GetRun, trainer_pb2.GetRunRequest())
        return caught.value

    return ask


@pytest.mark.parametrize(
    ("error", "code", "reason"),
    [
        (InvalidInput("ppo.steps: -1", "ppo.steps", hint="give 1 or more"), "INVALID_ARGUMENT", "INVALID_INPUT"),
        (NotFound("no run 'x'", hint="list them with: charter runs"), "NOT_FOUND", "NOT_FOUND"),
        (Conflict("run 'x' is PAUSED", hint="resume it"), "FAILED_PRECONDITION", "CONFLICT"),
        (RequestReused("request 'r' was used", hint="take a new id"), "ALREADY_EXISTS", "REQUEST_ID_REUSED"),
        (Stale("run 'x' has changed", hint="read it again"), "ABORTED", "STALE_ETAG"),
        (Unavailable("the store is closed", hint="start it", retry_seconds=2.5), "UNAVAILABLE", "UNAVAILABLE"),
        (Exhausted("the queue is full", hint="ask less", retry_seconds=0.25), "RESOURCE_EXHAUSTED", "EXHAUSTED"),
        (TrainingFailed("the loss is NaN", hint="lower the rate"), "FAILED_PRECONDITION", "TRAINING_FAILED"),
        (LeaseLost("run 'x' is held", hint="stop"), "ABORTED", "LEASE_LOST"),
    ],
)
def test_an_error_arrives_as_it_was_raised_with_code_reason_and_hint(raising, answer, error, code, reason):
    came = answer(error)
    assert type(came) is type(error)
    assert (str(came), came.message, came.hint) == (f"{error.message}; {error.hint}", error.message, error.hint)
    assert getattr(came, "retry_seconds", None) == getattr(error, "retry_seconds", None)
    assert getattr(came, "violations", None) == getattr(error, "violations", None)
    stub = trainer_pb2_grpc.TrainerServiceStub(raising[1].channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.GetRun(trainer_pb2.GetRunRequest())
    status = rpc_status.from_call(caught.value)
    assert caught.value.code().name == code and status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info) and (info.reason, info.domain) == (reason, "charter.v1")
    assert len({detail.type_url for detail in status.details}) == len(status.details)


def test_a_stream_that_fails_has_the_same_details(raising):
    servicer, connection = raising
    servicer.error = Stale("changed", hint="read it again")
    stub = trainer_pb2_grpc.TrainerServiceStub(connection.channel)
    answers = connection.stream(stub.WatchRun, trainer_pb2.WatchRunRequest())
    next(answers)
    with pytest.raises(Stale, match="read it again"):
        next(answers)


def test_pydantics_complaints_all_arrive_by_their_paths(answer):
    try:
        RunConfig.model_validate({"ppo": {"steps": "many"}, "seed": "x"})
    except ValueError as error:
        came = answer(error)
    assert isinstance(came, InvalidInput)
    assert {violation.field for violation in came.violations} == {"ppo.steps", "seed"}
    assert came.field in ("ppo.steps", "seed")
    assert "ppo.steps" in str(came) and "seed" in str(came) and "\n" not in str(came)


def test_a_message_that_leaves_out_its_field_is_led_by_it(answer):
    assert str(answer(InvalidInput("must be positive", "label.pairs"))) == "label.pairs: must be positive"
    assert str(answer(InvalidInput("label.pairs: 0 is too few", "label.pairs"))) == "label.pairs: 0 is too few"


@pytest.mark.parametrize("letter", ["x", "é", "語", "%", "\n", "\ud800"])
def test_the_longest_error_fits_into_the_trailers_of_every_peer(answer, letter):
    text = letter * 20_000
    violations = [Violation(text, text)] * 50
    error = InvalidInput(text, "f", hint=text, violations=violations)
    trailers = dict(status_of(error).trailing_metadata)
    percent = sum(1 if 32 <= byte <= 126 and byte != ord("%") else 3 for byte in status_of(error).details.encode())
    assert percent + len(trailers["grpc-status-details-bin"]) * 4 / 3 < 8192 - 512
    for _ in range(10):
        came = answer(error)
        assert isinstance(came, InvalidInput) and came.message.endswith(" ...") and came.hint.endswith(" ...")


def test_a_method_that_is_not_there_has_a_reason_too(raising):
    connection = raising[1]
    method = connection.channel.unary_unary("/charter.v1.TrainerService/Nothing")
    with pytest.raises(grpc.RpcError) as caught:
        method(b"")
    status = rpc_status.from_call(caught.value)
    assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED and status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info) and info.reason == "NO_SUCH_METHOD"
    assert isinstance(error_from_call(caught.value, "there"), Unavailable)


@pytest.mark.parametrize(
    ("code", "kind"), [("INVALID_ARGUMENT", InvalidInput), ("UNAVAILABLE", Unavailable), ("DATA_LOSS", CharterError)]
)
def test_a_reason_that_only_a_newer_server_knows_is_read_by_its_code(tmp_path, code, kind):
    class Newer(trainer_pb2_grpc.TrainerServiceServicer):
        async def GetRun(self, request, context):
            detail = any_pb2.Any()
            detail.Pack(error_details_pb2.ErrorInfo(reason="OF_TOMORROW", domain="charter.v1"))
            number = grpc.StatusCode[code].value[0]
            await context.abort_with_status(
                rpc_status.to_status(status_pb2.Status(code=number, message="not yet known", details=[detail]))
            )

    async def scenario() -> CharterError:
        server = grpc.aio.server()
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(Newer(), server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await trainer_pb2_grpc.TrainerServiceStub(channel).GetRun(trainer_pb2.GetRunRequest())
        await server.stop(None)
        return error_from_call(caught.value, "there")

    came = asyncio.run(scenario())
    assert type(came) is kind and "not yet known" in str(came)
