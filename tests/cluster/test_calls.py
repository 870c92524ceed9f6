"""Calls that are handed on, between two real servers: what comes back is what the first one said."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from charter.v1 import critique_pb2, policy_pb2, trainer_pb2, trainer_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from rlhf_core.errors import CharterError
from services.app import App
from services.client.client import CharterClient
from services.cluster.calls import Answer, ask, methods, passed_on, role_of, servicer_functions
from services.cluster.config import APPLICATION
from services.cluster.relay import relay
from services.server.config import ALL, WITHOUT_MODEL, ServeConfig, offered


def test_no_two_methods_have_the_same_name_as_serve_calls_a_method_by_its_name_alone():
    names = [method.name for method in methods()]
    assert len(names) == len(set(names)) > 70
    assert not {name for name in names if name.startswith("_")}


def test_every_service_that_a_server_offers_is_one_that_serve_is_told_of():
    services = {method.path.split("/")[1] for method in methods()}
    assert services == {*offered(ALL), "charter.v1.ServerService", "grpc.health.v1.Health"}
    for name in servicer_functions():
        module, _, function = name.rpartition(".")
        assert callable(getattr(__import__(module, fromlist=[function]), function))


def test_methods_say_whether_they_hear_and_answer_many_times():
    found = {method.name: method for method in methods()}
    assert found["UploadDataset"].hears_stream and not found["UploadDataset"].answers_stream
    assert found["WatchRun"].answers_stream and not found["Generate"].answers_stream
    assert found["Generate"].answer is policy_pb2.GenerateResponse


@pytest.mark.parametrize(
    ("path", "asked", "role"),
    [
        ("/charter.v1.PolicyService/Generate", "", "policy"),
        ("/charter.v1.CritiqueService/Compare", "", "critique"),
        ("/charter.v1.RewardService/Score", "", "reward"),
        ("/charter.v1.TrainerService/GetRun", "", ""),
        ("/charter.v1.DatasetService/ListSamples", "", ""),
        ("/grpc.health.v1.Health/Check", "", ""),
        ("/grpc.health.v1.Health/Check", "charter.v1.PolicyService", "policy"),
        ("/grpc.health.v1.Health/Check", "model:judge", "critique"),
        ("/grpc.health.v1.Health/Check", "charter.v1.StudyService", ""),
    ],
)
def test_a_call_goes_to_the_service_that_its_path_or_its_question_names(path: str, asked: str, role: str):
    assert role_of(path, health_pb2.HealthCheckRequest(service=asked).SerializeToString()) == role


def test_what_belongs_to_the_connection_is_not_passed_on():
    metadata = [("authorization", "Bearer x"), ("user-agent", "grpc"), ("grpc-accept-encoding", "gzip"), ("x-id", "1")]
    assert passed_on(metadata) == [("authorization", "Bearer x"), ("x-id", "1")]


def with_relay(folder: Path, call: Callable[[Any, Any], Awaitable[Any]], token: str = "") -> Any:
    """What a call makes of two channels: to a server, and to a relay that hands all calls on to it."""

    async def run() -> Any:
        config = ServeConfig(address=f"unix:{folder}/server", data=folder / "data", only=WITHOUT_MODEL, token=token)
        app = App(config)
        await app.start()

        def answers(path: str, request: bytes, metadata: Any) -> AsyncIterator[Answer]:
            return ask(direct, path, request, metadata)

        async with grpc.aio.insecure_channel(app.address) as direct:
            server = await relay(f"unix:{folder}/relay", answers)
            async with grpc.aio.insecure_channel(f"unix:{folder}/relay") as relayed:
                try:
                    return await call(direct, relayed)
                finally:
                    await server.stop(None)
                    await app.stop()

    return asyncio.run(run())


async def outcome(call: Any) -> Any:
    """The answer; or the code, the text and the details of an error."""
    try:
        return [each async for each in call] if hasattr(call, "__aiter__") else await call
    except grpc.aio.AioRpcError as error:
        return error.code(), error.details(), dict(error.trailing_metadata()).get("grpc-status-details-bin")


def test_answers_and_errors_of_both_kinds_of_methods_are_those_of_the_server(tmp_path: Path):
    async def call(direct: Any, relayed: Any) -> Any:
        found = []
        for channel in (direct, relayed):
            stub: Any = trainer_pb2_grpc.TrainerServiceStub(channel)
            found.append(
                [
                    await outcome(stub.ListRuns(trainer_pb2.ListRunsRequest())),
                    await outcome(stub.GetRun(trainer_pb2.GetRunRequest(run_id="nobody"))),
                    await outcome(stub.WatchRun(trainer_pb2.WatchRunRequest(run_id="nobody"))),
                    await outcome(channel.unary_unary("/charter.v1.PolicyService/Nothing")(b"")),
                ]
            )
        return found

    direct, relayed = with_relay(tmp_path, call)
    assert direct == relayed
    assert direct[0] == trainer_pb2.ListRunsResponse() and direct[1][0] == grpc.StatusCode.NOT_FOUND
    assert direct[2][0] == grpc.StatusCode.NOT_FOUND and direct[3][0] == grpc.StatusCode.UNIMPLEMENTED
    assert error_details_pb2.ErrorInfo.DESCRIPTOR.full_name.encode() in direct[1][2]


def test_the_callers_token_is_passed_on(tmp_path: Path):
    async def call(direct: Any, relayed: Any) -> Any:
        stub: Any = trainer_pb2_grpc.TrainerServiceStub(relayed)
        request = trainer_pb2.ListRunsRequest()
        return [
            await outcome(stub.ListRuns(request)),
            await outcome(stub.ListRuns(request, metadata=[("authorization", "Bearer secret")])),
        ]

    without, with_token = with_relay(tmp_path, call, token="secret")
    assert without[0] == grpc.StatusCode.UNAUTHENTICATED and with_token == trainer_pb2.ListRunsResponse()


class Overheard(grpc.GenericRpcHandler):
    """Answers nothing, and keeps the metadata of each call."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def service(self, handler_call_details: Any) -> None:
        self.calls.append(handler_call_details.invocation_metadata)


def test_each_call_of_a_client_says_whose_it_is_for_a_serve_with_several_applications():
    overheard = Overheard()
    server = grpc.server(ThreadPoolExecutor(1), handlers=[overheard])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with CharterClient.connect(f"127.0.0.1:{port}", "secret") as client:
        for ask in (client.trainer.list_runs, lambda: list(client.trainer.watch_run("nobody", patience_seconds=0))):
            with pytest.raises(CharterError):
                ask()
    server.stop(None)
    assert len(overheard.calls) >= 2
    assert all(("application", APPLICATION) in map(tuple, metadata) for metadata in overheard.calls)


def test_a_caller_that_leaves_is_noticed_by_the_server(tmp_path: Path):
    async def call(direct: Any, relayed: Any) -> Any:
        stub: Any = health_pb2_grpc.HealthStub(relayed)
        watching = stub.Watch(health_pb2.HealthCheckRequest())
        assert (await watching.read()).status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()
        return await outcome(stub.Check(health_pb2.HealthCheckRequest()))

    assert with_relay(tmp_path, call).status == health_pb2.HealthCheckResponse.SERVING


def test_a_server_that_is_gone_is_said_to_be_away(tmp_path: Path):
    async def run() -> list[Answer]:
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/nobody") as channel:
            request = critique_pb2.GetJudgeRequest().SerializeToString()
            return [answer async for answer in ask(channel, "/charter.v1.CritiqueService/GetJudge", request, ())]

    [answer] = asyncio.run(run())
    assert answer.code == grpc.StatusCode.UNAVAILABLE.value[0] and answer.data == b""
