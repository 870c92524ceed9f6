"""Bounds on requests and on calls at work, by hand and over a socket."""

from __future__ import annotations

import time
from contextlib import closing

import grpc
import pytest
from charter.v1 import critique_pb2, policy_pb2, preference_pb2, trainer_pb2, trainer_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import load_with_text
from rlhf_core.errors import Exhausted, InvalidInput
from rlhf_core.store.store import Store
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.server.limits import Limits, Turnstile, check_request
from tests.services.apps import serving

SMALL = Limits(text_characters=10, items=3, responses=4)
PROMPT = {"text": "Hi"}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (policy_pb2.GenerateRequest(prompts=[PROMPT] * 4), "prompts"),
        (policy_pb2.GenerateRequest(prompts=[PROMPT, {"text": "x" * 11}]), "prompts[1].text"),
        (policy_pb2.GenerateRequest(prompts=[{"messages": [{"content": "x" * 6}] * 2}]), "prompts[0].messages"),
        (policy_pb2.GenerateRequest(prompts=[PROMPT] * 2, n=3), "n"),
        (policy_pb2.GenerateRequest(prompts=[{"text": "Hi", "id": "x" * 1001}]), "prompts[0].id"),
        (policy_pb2.GenerateRequest(prompts=[{"text": "Hi", "tags": ["a\0"]}]), "prompts[0].tags[0]"),
        (critique_pb2.CompareRequest(comparisons=[{"b": {"response": "x" * 11}}]), "comparisons[0].b.response"),
        (preference_pb2.SubmitPreferenceRequest(labeler="ann\n"), "labeler"),
        (trainer_pb2.CreateRunRequest(config_json="x" * 11), "config_json"),
    ],
)
def test_what_is_too_long_is_refused_with_its_path(request_, field):
    with pytest.raises(InvalidInput) as caught:
        check_request(request_, SMALL)
    assert caught.value.field == field and str(caught.value).startswith(f"{field}: ")


def test_what_is_just_within_the_limits_passes():
    check_request(policy_pb2.GenerateRequest(prompts=[{"text": "x" * 10, "id": "x" * 1000}] * 2, n=2), SMALL)
    check_request(policy_pb2.GenerateRequest(prompts=[{"messages": [{"content": "x" * 5}] * 2}] * 3, n=1), SMALL)
    check_request(trainer_pb2.CreateRunRequest(config_json="\n" * 10), SMALL)


def test_the_turnstile_counts_in_all_and_by_client():
    turnstile = Turnstile(Limits(calls=3, calls_per_client=2))
    with turnstile.entered("ann"), turnstile.entered("ann"):
        with pytest.raises(Exhausted, match="'ann' has 2 calls at work"), turnstile.entered("ann"):
            pass
        with turnstile.entered("bob"), pytest.raises(Exhausted, match="has 3 calls at work"), turnstile.entered("eve"):
            pass
        assert turnstile.inside == 2
    with pytest.raises(ZeroDivisionError), turnstile.entered("ann"):
        _ = 1 / 0
    assert turnstile.inside == 0


def known_constitution(store: Store) -> str:
    constitution, text = load_with_text("household")
    store.constitutions.add(constitution.hash, constitution.id, text, "household")
    return constitution.hash


def test_too_many_calls_are_told_when_to_try_again_and_a_left_stream_makes_room(tmp_path):
    with closing(Store.open(tmp_path)) as store:
        run = store.runs.create("pipeline", RunConfig().model_dump_json(), known_constitution(store), "")

    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            stub = trainer_pb2_grpc.TrainerServiceStub(channel)
            watched = [stub.WatchRun(trainer_pb2.WatchRunRequest(run_id=run.id)) for _ in range(3)]
            for stream in watched:
                next(stream)
            with pytest.raises(grpc.RpcError) as caught:
                stub.GetRun(trainer_pb2.GetRunRequest(run_id=run.id))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            status, retry = rpc_status.from_call(caught.value), error_details_pb2.RetryInfo()
            assert status is not None and any(detail.Unpack(retry) for detail in status.details)
            assert retry.retry_delay.ToTimedelta().total_seconds() == 0.5
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
            watched[0].cancel()
            until = time.monotonic() + 5
            while time.monotonic() < until:
                try:
                    assert stub.GetRun(trainer_pb2.GetRunRequest(run_id=run.id)).run.id == run.id
                    break
                except grpc.RpcError:
                    time.sleep(0.02)
            else:
                pytest.fail("the place of the stream that was left is still taken")
            for stream in watched:
                stream.cancel()

    limits = Limits(calls_per_client=3)
    serving(ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, limits=limits), look)


def test_a_message_beyond_the_limit_is_refused_and_the_next_one_answered(tmp_path):
    def look(address: str) -> None:
        with grpc.insecure_channel(address) as channel:
            stub = trainer_pb2_grpc.TrainerServiceStub(channel)
            with pytest.raises(grpc.RpcError) as caught:
                stub.CreateRun(trainer_pb2.CreateRunRequest(config_json="x" * 5000))
            assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert stub.ListRuns(trainer_pb2.ListRunsRequest()).runs == []

    limits = Limits(message_bytes=4096)
    serving(ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path, only=WITHOUT_MODEL, limits=limits), look)
