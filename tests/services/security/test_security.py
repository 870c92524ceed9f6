"""A server that others can reach: certificates, tokens, and what it refuses without them. Over real sockets."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
import trustme
from charter.v1 import dataset_pb2, dataset_pb2_grpc, policy_pb2, policy_pb2_grpc, trainer_pb2, trainer_pb2_grpc
from google.protobuf.duration_pb2 import Duration
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import Forbidden, InvalidInput, NoWorker, Unauthenticated, Unavailable
from rlhf_core.records.samples import Prompt
from rlhf_core.store.store import Store
from services.cli import main
from services.client.client import CharterClient
from services.security import callers
from services.security.tls import ClientTls, TlsConfig
from services.security.tokens import new_token, revoke_token
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.server.server import Server, Service
from services.server.undecodable_requests import malformed
from tests.services.apps import serving


class Papers(NamedTuple):
    """PEM files of an authority, of a server and of a client that it has signed, and of a stranger."""

    ca: Path
    server: TlsConfig
    client: ClientTls
    stranger: ClientTls


def issue(ca: trustme.CA, folder: Path, name: str) -> tuple[Path, Path]:
    made = ca.issue_cert(name)
    cert, key = folder / f"{name}.pem", folder / f"{name}.key"
    made.private_key_pem.write_to_path(key)
    made.cert_chain_pems[0].write_to_path(cert)
    return cert, key


@pytest.fixture(scope="module")
def papers(tmp_path_factory) -> Papers:
    folder = tmp_path_factory.mktemp("papers")
    ca, other = trustme.CA(), trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    cert, key = issue(ca, folder, "localhost")
    mine = issue(ca, folder, "client.example")
    stranger = issue(other, folder, "stranger.example")
    authority = folder / "ca.pem"
    return Papers(
        authority, TlsConfig(cert=cert, key=key), ClientTls(authority, *mine), ClientTls(authority, *stranger)
    )


def config(folder: Path, **more) -> ServeConfig:
    return ServeConfig(**{"address": "localhost:0", "data": folder / "d", "only": WITHOUT_MODEL, **more})


def test_an_encrypted_server_answers_those_who_trust_its_authority(tmp_path, papers):
    def look(address: str) -> None:
        assert address.startswith("https://localhost:")
        with CharterClient.connect(address, tls=papers.client) as client:
            assert client.trainer.list_runs().runs == []
        for wrong in (address.removeprefix("https://"), address):
            with (
                CharterClient.connect(wrong, timeout_seconds=0.8, tls=ClientTls()) as client,
                pytest.raises(Unavailable),
            ):
                client.trainer.list_runs()

    serving(config(tmp_path, tls=papers.server), look)


def test_the_environment_names_what_a_client_trusts(tmp_path, papers, monkeypatch):
    monkeypatch.setenv("CHARTER_TLS_CA", str(papers.ca))

    def look(address: str) -> None:
        with CharterClient.connect(address) as client:
            assert client.trainer.list_runs().runs == []

    serving(config(tmp_path, tls=papers.server), look)


def test_mutual_tls_lets_in_only_clients_with_a_certificate(tmp_path, papers):
    def look(address: str) -> None:
        with CharterClient.connect(address, tls=papers.client) as client:
            assert client.trainer.list_runs().runs == []
        for tls in (ClientTls(papers.ca), papers.stranger):
            with CharterClient.connect(address, timeout_seconds=0.8, tls=tls) as client, pytest.raises(Unavailable):
                client.trainer.list_runs()

    serving(config(tmp_path, tls=papers.server.model_copy(update={"client_ca": papers.ca})), look)


def test_a_renewed_certificate_is_shown_without_a_restart(tmp_path, papers):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    other = trustme.CA()
    other.cert_pem.write_to_path(tmp_path / "other.pem")

    def write(pair: tuple[Path, Path]) -> None:
        for source, target in zip(pair, (cert, key), strict=True):
            shutil.copy(source, target)

    def look(address: str) -> None:
        with CharterClient.connect(address, tls=ClientTls(papers.ca)) as client:
            client.trainer.list_runs()
        write(issue(other, tmp_path, "localhost"))
        with CharterClient.connect(address, tls=ClientTls(tmp_path / "other.pem")) as client:
            client.trainer.list_runs()
        cert.write_text("garbage")
        with CharterClient.connect(address, tls=ClientTls(tmp_path / "other.pem")) as client:
            client.trainer.list_runs()

    assert papers.server.cert and papers.server.key
    write((papers.server.cert, papers.server.key))
    serving(config(tmp_path, tls=TlsConfig(cert=cert, key=key)), look)


def test_files_that_are_no_certificate_and_key_are_the_users_mistake(tmp_path, papers):
    (tmp_path / "no.pem").write_text("garbage")
    for tls, field in (
        ({"cert": papers.server.cert}, "tls.key"),
        ({"key": papers.server.key}, "tls.key"),
        ({"cert": tmp_path / "absent.pem", "key": papers.server.key}, "tls.cert"),
        ({"cert": tmp_path / "no.pem", "key": papers.server.key}, "tls.cert"),
        ({"cert": papers.client.cert, "key": papers.server.key}, "tls.cert"),
        ({"cert": papers.server.cert, "key": papers.server.key, "client_ca": tmp_path / "no.pem"}, "tls.client_ca"),
    ):
        with pytest.raises(InvalidInput) as caught:
            serving(config(tmp_path, tls=TlsConfig(**tls)), print)
        assert caught.value.field == field
    with pytest.raises(InvalidInput, match="CHARTER_TLS_CA"):
        CharterClient.connect("https://localhost:1", tls=ClientTls(tmp_path / "no.pem"))


def test_each_token_may_do_what_its_scope_says(tmp_path):
    file = tmp_path / "tokens.yaml"
    given = {scope: new_token(file, f"{scope}er", [scope]) for scope in ("read", "label", "review", "train", "admin")}

    def look(address: str) -> None:
        for scope, token in given.items():
            with CharterClient.connect(address, token) as client:
                assert isinstance(client.trainer.list_runs().runs, list)
                if scope in ("train", "admin"):
                    with pytest.raises(NoWorker):
                        client.trainer.create_run(RunConfig(), validate_only=True)
                else:
                    with pytest.raises(Forbidden, match=f"'{scope}er' has the scope {scope}; CreateRun needs train"):
                        client.trainer.create_run(RunConfig(), validate_only=True)
                if scope in ("label", "review", "admin"):
                    assert client.preference.next_comparison("alice", "helpful") is None
                else:
                    with pytest.raises(Forbidden):
                        client.preference.next_comparison("alice", "helpful")
        for token in ("", "wrong", given["read"][:-1]):
            with CharterClient.connect(address, token) as client, pytest.raises(Unauthenticated) as caught:
                client.trainer.list_runs()
            assert caught.value.field == "token"

    serving(config(tmp_path, tokens=file), look)


def test_a_watch_ends_with_the_token_that_began_it_although_nothing_happens(tmp_path, monkeypatch):
    monkeypatch.setattr(callers, "RECHECK_SECONDS", 0.05)
    file, data = tmp_path / "tokens.yaml", tmp_path / "d"
    token, other = new_token(file, "ada", ["read"]), new_token(file, "bob", ["read"])
    with closing(Store.open(data)) as store:
        run_id = store.runs.create("pipeline", "{}", "hash", "r").id

    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            watch = trainer_pb2_grpc.TrainerServiceStub(channel).WatchRun
            # Silent for an hour but for what happens.
            asked = trainer_pb2.WatchRunRequest(run_id=run_id, heartbeat_interval=Duration(seconds=3600))
            by_token = {each: watch(asked, metadata=[("authorization", f"Bearer {each}")]) for each in (token, other)}
            for answers in by_token.values():
                next(answers)
            revoke_token(file, "ada")
            with pytest.raises(grpc.RpcError) as caught:
                list(by_token[token])
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            assert by_token[other].is_active()
            by_token[other].cancel()

    serving(config(tmp_path, tokens=file), look)


def test_an_upload_ends_with_the_token_that_began_it(tmp_path, monkeypatch):
    monkeypatch.setattr(callers, "RECHECK_SECONDS", 0.0)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ada", ["train"])
    content = b'{"prompt": "How do I dust a shelf?"}\n'
    spec = dataset_pb2.DatasetUpload(
        dataset_id="mine",
        format=dataset_pb2.DATASET_FORMAT_PROMPTS,
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )

    def parts() -> Iterator[dataset_pb2.UploadDatasetRequest]:
        yield dataset_pb2.UploadDatasetRequest(upload=spec)
        revoke_token(file, "ada")
        yield dataset_pb2.UploadDatasetRequest(chunk=dataset_pb2.DatasetChunk(data=content))

    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            upload = dataset_pb2_grpc.DatasetServiceStub(channel).UploadDataset
            with pytest.raises(grpc.RpcError) as caught:
                upload(parts(), metadata=[("authorization", f"Bearer {token}")])
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED

    serving(config(tmp_path, tokens=file), look)
    with closing(Store.open(tmp_path / "d")) as store:
        assert store.datasets.page(10) == ([], 0)


def test_a_refused_caller_learns_the_code_and_nothing_of_the_request_is_read(tmp_path):
    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            call = channel.unary_unary("/charter.v1.TrainerService/CreateRun")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff" * 1000)
            assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())

    serving(config(tmp_path, token="s3cret"), look)


def test_without_both_tls_and_tokens_no_other_machine_may_reach_the_server(tmp_path, papers):
    open_address = {"address": "0.0.0.0:0"}
    for lacking in ({}, {"tls": papers.server}, {"token": "s3cret"}):
        with pytest.raises(InvalidInput, match="can be reached from other machines") as caught:
            serving(config(tmp_path, **open_address, **lacking), print)
        assert caught.value.field == "address" and "--insecure" in caught.value.hint
    seen: list[str] = []
    serving(config(tmp_path, **open_address, tls=papers.server, token="s3cret"), seen.append)
    serving(config(tmp_path, **open_address, insecure=True), seen.append)
    assert [address.partition("0.0.0.0")[0] for address in seen] == ["https://", ""]


def test_methods_are_described_only_on_this_machine_unless_asked_for(tmp_path):
    def described(address: str) -> bool:
        with grpc.insecure_channel(address) as channel:
            try:
                return "charter.v1.TrainerService" in ProtoReflectionDescriptorDatabase(channel).get_services()
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.UNIMPLEMENTED
                return False

    seen: list[bool] = []
    for more in (
        {},
        {"reflects": False},
        {"address": "0.0.0.0:0", "insecure": True},
        {"address": "0.0.0.0:0", "insecure": True, "reflects": True},
    ):
        serving(config(tmp_path, **more), lambda address: seen.append(described(address)))
    assert seen == [True, False, False, True]


def test_bytes_that_are_no_request_name_the_field(tmp_path):
    good = trainer_pb2.CreateRunRequest(config_json="{}").SerializeToString()
    cases = {
        good[:-1]: "request",
        b"\x0a\x02\xff\xfe": "config_json",
        b"\x0b": "request",
        good + b"\x1a\x01\xff": "request_id",
    }

    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            for data, field in cases.items():
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary("/charter.v1.TrainerService/CreateRun")(data)
                assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
                assert (caught.value.details() or "").startswith(f"{field}: ")

    serving(config(tmp_path), look)


def test_bytes_that_are_no_message_are_no_mistake_of_ours_for_open_services_either(tmp_path):
    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/grpc.health.v1.Health/Check")(b"\x0a\xff")
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            reflected = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
            with pytest.raises(grpc.RpcError) as caught:
                list(reflected(iter([b"\x0a\xff"])))
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/charter.v1.TrainerService/Nothing")(b"\xff")
            assert caught.value.code() == grpc.StatusCode.UNIMPLEMENTED

    serving(config(tmp_path), look)


def test_a_run_is_carried_out_behind_tls_and_tokens(tmp_path, papers, model_config):
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ann", ["train"])

    def look(address: str) -> None:
        with CharterClient.connect(address, token, tls=papers.client) as client:
            run = client.trainer.create_run(RunConfig(model=model_config))
            for _ in client.trainer.watch_run(run.id):
                pass
            assert client.trainer.get_run(run.id).state == "SUCCEEDED"

    protected = {"tls": papers.server.model_copy(update={"client_ca": papers.ca}), "tokens": file}
    settings = ServeConfig(address="localhost:0", data=tmp_path / "d", model=model_config, **protected)
    serving(settings, look, one_call)


def one_call(run, store, tools, report, should_stop) -> None:
    """A pipeline that asks for a response."""
    assert tools.sampler.generate([Prompt.of("How do I dust a shelf?")], policy_version="base", max_tokens=2)


def test_a_call_in_json_needs_no_description_by_the_server(tmp_path, capsys):
    def look(address: str) -> None:
        for arguments in (["charter.v1.TrainerService/ListRuns"], ["charter.v1.TrainerService"]):
            with pytest.raises(SystemExit) as ended:
                main.main(["call", *arguments, "--address", address, "--token", "s3cret"])
            assert ended.value.code == 0
        assert "charter.v1.TrainerService/WatchRun  (WatchRunRequest)" in capsys.readouterr().out

    serving(config(tmp_path, reflects=False, token="s3cret"), look)


def test_a_mistake_of_ours_puts_no_text_of_a_request_into_the_log(tmp_path, caplog):
    class Broken(policy_pb2_grpc.PolicyServiceServicer):
        async def Generate(self, request, context):
            raise ValueError(request.prompts[0].text)

    async def scenario() -> None:
        server = Server(f"unix:{tmp_path}/s")
        name = "charter.v1.PolicyService"
        await server.open([name], [])
        await server.offer([Service(name, policy_pb2_grpc.add_PolicyServiceServicer_to_server, Broken())])
        async with grpc.aio.insecure_channel(server.address) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                request = policy_pb2.GenerateRequest(prompts=[{"text": "my secret"}])
                await policy_pb2_grpc.PolicyServiceStub(channel).Generate(request)
            assert caught.value.code() == grpc.StatusCode.INTERNAL and "secret" not in (caught.value.details() or "")
        await server.close()

    with caplog.at_level(logging.INFO):
        asyncio.run(scenario())
    assert "ValueError" in caplog.text and "test_security.py" in caplog.text and "secret" not in caplog.text


def test_a_nested_field_is_named_by_its_path():
    prompt = policy_pb2.GenerateRequest(prompts=[{"messages": [{"content": "Hi"}]}]).SerializeToString()
    error = malformed("/charter.v1.PolicyService/Generate", prompt.replace(b"Hi", b"\xff\xff"))
    assert error.field == "prompts.messages.content" and "not UTF-8" in str(error)
