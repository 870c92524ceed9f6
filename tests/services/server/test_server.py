"""The server itself: addresses, health, reflection, tokens, our own mistakes, and callers who go away."""

from __future__ import annotations

import asyncio
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from charter.v1 import policy_pb2, policy_pb2_grpc, trainer_pb2, trainer_pb2_grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NoWorker
from rlhf_core.records.samples import Prompt
from services.client.client import CharterClient
from services.embedded import embedded_server
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.server.server import ErrorInterceptor, Server, _options
from tests.services.apps import serving

PROMPT = Prompt.of("How do I unclog the drain?")


def test_health_knows_every_service(served):
    stub = health_pb2_grpc.HealthStub(served.channel)
    for name in ("", "charter.v1.PolicyService", "charter.v1.TrainerService"):
        answer = stub.Check(health_pb2.HealthCheckRequest(service=name))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as caught:
        stub.Check(health_pb2.HealthCheckRequest(service="charter.v1.NoService"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def test_reflection_describes_every_method(served):
    database = ProtoReflectionDescriptorDatabase(served.channel)
    assert {f"charter.v1.{name}Service" for name in ("Policy", "Critique", "Reward", "Preference", "Trainer")} <= set(
        database.get_services()
    )
    method = DescriptorPool(database).FindServiceByName("charter.v1.PolicyService").methods_by_name["Generate"]
    assert [field.name for field in method.input_type.fields][:2] == ["prompts", "policy_version"]


def test_an_error_carries_its_reason_and_field(served):
    stub = trainer_pb2_grpc.TrainerServiceStub(served.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.CreateRun(trainer_pb2.CreateRunRequest(config_json='{"ppo": {"steps": "many"}}'))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    status = rpc_status.from_call(caught.value)
    assert status is not None
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    assert status.details[0].Unpack(info) and status.details[1].Unpack(request)
    assert (info.reason, info.domain) == ("INVALID_INPUT", "charter.v1")
    assert request.field_violations[0].field == "ppo.steps"
    assert "many" in status.message


@pytest.mark.slow
def test_a_connection_that_has_grown_old_is_renewed_and_cuts_no_stream(monkeypatch, tmp_path):
    class Slow(trainer_pb2_grpc.TrainerServiceServicer):
        async def WatchRun(self, request, context):
            for number in range(8):
                yield trainer_pb2.WatchRunResponse(event=trainer_pb2.RunEvent(sequence=number))
                await asyncio.sleep(0.5)

        async def ListRuns(self, request, context):
            return trainer_pb2.ListRunsResponse(next_page_token=context.peer())

    monkeypatch.setattr("services.server.server.CONNECTION_SECONDS", 1)

    async def scenario() -> tuple[list[int], set[str]]:
        server = grpc.aio.server(options=_options(2**20))
        trainer_pb2_grpc.add_TrainerServiceServicer_to_server(Slow(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub, peers = trainer_pb2_grpc.TrainerServiceStub(channel), set[str]()
            seen = []
            async for answer in stub.WatchRun(trainer_pb2.WatchRunRequest()):
                seen.append(answer.event.sequence)
                peers.add((await stub.ListRuns(trainer_pb2.ListRunsRequest())).next_page_token)
        await server.stop(None)
        return seen, peers

    seen, peers = asyncio.run(scenario())
    assert seen == list(range(8)) and len(peers) > 1


def test_broken_json_is_the_callers_mistake(served):
    stub = trainer_pb2_grpc.TrainerServiceStub(served.channel)
    with pytest.raises(grpc.RpcError) as caught:
        stub.CreateRun(trainer_pb2.CreateRunRequest(config_json="{"))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_mistake_of_ours_shows_the_caller_only_an_id(tmp_path, caplog):
    class Broken(policy_pb2_grpc.PolicyServiceServicer):
        async def GetServerInfo(self, request, context):
            return 1 / 0

    async def scenario() -> str:
        server = grpc.aio.server(interceptors=[ErrorInterceptor()])
        policy_pb2_grpc.add_PolicyServiceServicer_to_server(Broken(), server)
        server.add_insecure_port(f"unix:{tmp_path}/s")
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await policy_pb2_grpc.PolicyServiceStub(channel).GetServerInfo(policy_pb2.GetServerInfoRequest())
        await server.stop(None)
        assert caught.value.code() == grpc.StatusCode.INTERNAL
        return caught.value.details() or ""

    text = asyncio.run(scenario())
    incident = text.split()[2].rstrip(";")
    assert "ZeroDivision" not in text
    assert incident in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_port_in_use_is_the_users_mistake(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(InvalidInput, match="cannot listen") as caught:
            serving(ServeConfig(address=address, data=tmp_path, only=WITHOUT_MODEL))
    assert caught.value.field == "address"


def test_a_second_server_gets_neither_port_nor_socket_of_the_first(tmp_path):
    def another(address: str) -> None:
        with pytest.raises(InvalidInput):
            serving(ServeConfig(address=address, data=tmp_path / "b", only=WITHOUT_MODEL))
        with CharterClient.connect(address) as client:
            assert client.trainer.list_runs().runs == []

    for address in ("127.0.0.1:0", f"unix:{tmp_path}/s"):
        serving(ServeConfig(address=address, data=tmp_path / "a", only=WITHOUT_MODEL), another)


def test_a_socket_left_by_a_dead_server_is_taken_over(tmp_path):
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/s")
    seen = []

    def look(address: str) -> None:
        with CharterClient.connect(address) as client:
            seen.append(client.trainer.list_runs().runs)

    serving(ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path / "a", only=WITHOUT_MODEL), look)
    assert seen == [[]]


@pytest.mark.parametrize("address", ["", "nohost", "localhost:", "localhost:99999", "0.0.0.0:0", "example.org:50051"])
def test_an_address_that_is_wrong_or_open_to_others_is_refused(tmp_path, address):
    with pytest.raises(InvalidInput):
        serving(ServeConfig(address=address, data=tmp_path, only=WITHOUT_MODEL))


def test_insecure_allows_an_open_address(tmp_path):
    async def scenario() -> None:
        server = Server("0.0.0.0:0", insecure=True)
        assert server.address.startswith("0.0.0.0:") and not server.address.endswith(":0")
        await server.close()

    asyncio.run(scenario())


def test_a_token_is_asked_for_but_not_by_health(tmp_path):
    def look(address: str) -> None:
        with CharterClient.connect(address, token="s3cret") as client:
            assert client.trainer.list_runs().runs == []
        for token in ("", "wrong"):
            with CharterClient.connect(address, token=token) as client, pytest.raises(InvalidInput) as caught:
                client.trainer.list_runs()
            assert caught.value.field == "token"
        with grpc.insecure_channel(address) as channel:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    serving(ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, token="s3cret"), look)


def test_a_missing_model_is_the_users_mistake_and_frees_the_socket(tmp_path, model_config):
    missing = model_config.model_copy(update={"base_model": str(tmp_path)})
    with pytest.raises(InvalidInput, match=r"config\.json"), embedded_server(tmp_path / "d", missing):
        pass
    with embedded_server(tmp_path / "d", None) as address, CharterClient.connect(address) as client:
        assert client.trainer.list_runs().runs == []


def test_without_a_model_runs_are_still_served(tmp_path, served):
    with embedded_server(tmp_path, None) as address, CharterClient.connect(address) as client:
        with pytest.raises(NoWorker):
            client.trainer.create_run(RunConfig())
        assert client.trainer.list_runs().runs == []


def test_a_long_data_folder_gets_a_short_socket(tmp_path):
    data = tmp_path / ("long" * 20) / ("name" * 20)
    with embedded_server(data, None) as address, CharterClient.connect(address) as client:
        assert client.trainer.list_runs().runs == []
        assert len(address) < 100
    assert not Path(address.removeprefix("unix:")).exists()


def test_a_cancelled_generate_stops_the_model(served):
    stub = policy_pb2_grpc.PolicyServiceStub(served.channel)
    prompt = [{"text": PROMPT.messages[0].content}]
    long = policy_pb2.GenerateRequest(prompts=prompt, n=100, max_tokens=4000)
    call = stub.Generate.future(long)
    time.sleep(0.3)
    assert not call.done()
    call.cancel()
    begun = time.monotonic()
    served.client.policy.generate([PROMPT], max_tokens=1)
    assert time.monotonic() - begun < 1.0


def test_a_stream_that_is_left_stops_and_others_run_between_its_tokens(served):
    pieces = served.client.policy.generate_stream(PROMPT, max_tokens=4000, temperature=0, seed=1)
    next(pieces)
    with ThreadPoolExecutor(1) as other:
        sample = other.submit(served.client.policy.generate, [PROMPT], max_tokens=2).result(timeout=5)
    assert sample and next(pieces).text is not None
    pieces.close()
    begun = time.monotonic()
    served.client.policy.generate([PROMPT], max_tokens=1)
    assert time.monotonic() - begun < 1.0


def test_health_answers_while_the_model_works(served):
    stub = policy_pb2_grpc.PolicyServiceStub(served.channel)
    long = policy_pb2.GenerateRequest(prompts=[{"text": "?"}], n=100, max_tokens=4000)
    call = stub.Generate.future(long)
    health = health_pb2_grpc.HealthStub(served.channel)
    waits = []
    for _ in range(10):
        begun = time.monotonic()
        health.Check(health_pb2.HealthCheckRequest())
        waits.append(time.monotonic() - begun)
        time.sleep(0.02)
    assert not call.done()
    call.cancel()
    assert sorted(waits)[5] < 0.2
