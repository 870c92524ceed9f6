"""Generation over a socket: many callers in one batch, versions that change under way, and calls that end early."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.config.feedback import FeedbackConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import Exhausted, InvalidInput, NotFound
from rlhf_core.inference.engine import Engine
from rlhf_core.inference.engines.native import NativeDecoder
from rlhf_core.inference.sequence import SamplingParams
from rlhf_core.records.samples import BASE_POLICY, Prompt
from rlhf_core.store.store import Store
from services.embedded import embedded_server
from services.serving.executor import Executor
from services.serving.generation_queue import GenerationQueue
from services.serving.loaded_models import ModelLibrary
from tests.services.conftest import Served

PROMPTS = [Prompt.of(text) for text in ("How do I dust?", "Wash a pan", "Is it safe to mix cleaners?", "Hang a shelf")]


@pytest.fixture
def alone(tmp_path: Path, model_config: ModelConfig, trained: Callable[[Path], str]) -> Iterator[Served]:
    """A server of the test's own, whose policies it may change."""
    run_id = trained(tmp_path)
    with embedded_server(tmp_path, model_config) as address:
        found = Served(address, tmp_path, run_id)
        yield found
        found.channel.close()
        found.client.close()


@pytest.fixture
def stub(served: Served) -> policy_pb2_grpc.PolicyServiceStub:
    return policy_pb2_grpc.PolicyServiceStub(served.channel)


@pytest.fixture(scope="module")
def library(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[ModelLibrary]:
    from services.run_toolbox import load_library

    data = tmp_path_factory.mktemp("library")
    trained(data)
    store = Store.open(data)
    yield load_library(model_config, store, FeedbackConfig())
    store.close()


def test_many_callers_at_once_get_what_each_would_get_alone(served):
    def ask(seed: int) -> str:
        prompt = PROMPTS[seed % len(PROMPTS)]
        (sample,) = served.client.policy.generate(
            [prompt], policy_version="policy-1" if seed % 3 else "base", max_tokens=4 + 3 * seed, seed=seed
        )
        assert sample.policy_version == ("policy-1" if seed % 3 else "base")
        return sample.response

    alone = [ask(seed) for seed in range(9)]
    with ThreadPoolExecutor(9) as callers:
        assert list(callers.map(ask, range(9))) == alone
    assert len(set(alone)) > 5


def test_a_stop_string_ends_the_response_and_the_stream_before_it(served, stub):
    (whole,) = served.client.policy.generate(PROMPTS[:1], max_tokens=40, seed=5)
    stop = whole.response[6:8]
    prompt = {"text": "How do I dust?"}
    expected = whole.response[: whole.response.index(stop)]
    answer = stub.Generate(policy_pb2.GenerateRequest(prompts=[prompt], max_tokens=40, seed=5, stop=[stop]))
    (sample,) = answer.samples
    assert sample.response == expected and sample.finish_reason == 1 and sample.tokens < whole.tokens
    assert sample.id != whole.id and not answer.tokens
    request = policy_pb2.GenerateStreamRequest(prompt=prompt, max_tokens=40, seed=5, stop=[stop, "never"])
    pieces = list(stub.GenerateStream(request))
    assert "".join(piece.text for piece in pieces) == expected == pieces[-1].sample.response
    assert [piece.finished for piece in pieces] == [False] * (len(pieces) - 1) + [True]


def test_logprobs_come_with_their_tokens(stub):
    prompts = [{"text": prompt.messages[0].content} for prompt in PROMPTS]
    answer = stub.Generate(policy_pb2.GenerateRequest(prompts=prompts, n=2, max_tokens=9, seed=2, logprobs=True))
    assert len(answer.tokens) == len(answer.samples) == 8
    for tokens, sample in zip(answer.tokens, answer.samples, strict=True):
        assert len(tokens.ids) == len(tokens.logprobs) == sample.tokens
        assert sum(tokens.logprobs) == pytest.approx(sample.logprob) and max(tokens.logprobs) <= 0
    request = policy_pb2.GenerateStreamRequest(prompt=prompts[0], max_tokens=9, seed=2, logprobs=True)
    pieces = list(stub.GenerateStream(request))
    assert [id for piece in pieces for id in piece.new_tokens.ids] == list(answer.tokens[0].ids)
    assert [piece.tokens for piece in pieces][-1] == answer.samples[0].tokens
    assert pieces[-1].logprob == pytest.approx(answer.samples[0].logprob, abs=1e-4)


def test_an_answer_that_is_under_way_keeps_its_version_when_another_is_promoted(alone):
    policy = alone.client.policy
    store = Store.open(alone.data)
    newest = store.policy_versions.find()[-1]
    policy.promote_policy(newest.id, "candidate")
    pinned = policy.generate(PROMPTS[1:2], policy_version=newest.id, max_tokens=80, temperature=0)
    pieces = policy.generate_stream(PROMPTS[1], policy_version="candidate", max_tokens=80, temperature=0)
    next(pieces)
    swapped = store.policy_versions.find()[0].model_copy(update={"id": f"{newest.id}-next", "parent": newest.id})
    store.policy_versions.add(swapped)
    store.aliases.promote("candidate", swapped.id, "", "", "")
    store.close()
    later = policy.generate(PROMPTS[1:2], policy_version="candidate", max_tokens=5)
    assert later[0].policy_version == swapped.id
    last = list(pieces)[-1]
    assert last.sample is not None and last.sample.policy_version == newest.id
    assert last.sample.response == pinned[0].response
    by_name = policy.generate(PROMPTS[1:2], policy_version=f"policyVersions/{newest.id}", max_tokens=5, temperature=0)
    assert by_name[0].policy_version == newest.id


def test_a_control_of_ppo_is_never_the_latest_policy(alone):
    with contextlib.closing(Store.open(alone.data)) as store:
        newest = store.policy_versions.find()[-1]
        store.policy_versions.add(newest.model_copy(update={"id": f"{newest.id}-control", "stage": "control"}))
    (latest,) = alone.client.policy.generate(PROMPTS[:1], policy_version="latest", max_tokens=5)
    assert latest.policy_version == newest.id
    (asked,) = alone.client.policy.generate(PROMPTS[:1], policy_version=f"{newest.id}-control", max_tokens=5)
    assert asked.policy_version == f"{newest.id}-control", "who names it gets it"


def test_a_call_past_its_deadline_stops_the_model(served, stub):
    long = policy_pb2.GenerateRequest(prompts=[{"text": "?"}], n=100, max_tokens=4000)
    with pytest.raises(grpc.RpcError) as error:
        stub.Generate(long, timeout=0.5)
    assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    begun = time.monotonic()
    served.client.policy.generate(PROMPTS[:1], max_tokens=1)
    assert time.monotonic() - begun < 1.0


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (policy_pb2.GenerateRequest(prompts=[{"text": "?"}], stop=[""]), "stop.0"),
        (policy_pb2.GenerateRequest(prompts=[{"text": "?"}], stop=["x"] * 17), "stop"),
        (policy_pb2.GenerateRequest(prompts=[{"text": "?"}, {"text": "x" * 5000}]), r"prompts\[1\]"),
    ],
)
def test_a_mistake_names_its_field(stub, request_, field):
    with pytest.raises(grpc.RpcError, match=field) as error:
        stub.Generate(request_)
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def ask(library: ModelLibrary, work: Callable[[GenerationQueue], Awaitable[object]], **options: Any) -> object:
    """Run a coroutine over a queue of its own."""
    executor = Executor("model")

    async def run() -> object:
        return await work(GenerationQueue(Engine(library.engine, library.backbone, library), executor, **options))

    try:
        return asyncio.run(run())
    finally:
        executor.close()


def test_who_comes_when_too_many_wait_is_told_when_to_come_again(library):
    async def crowd(queue: GenerationQueue) -> None:
        first = asyncio.ensure_future(queue.generate(PROMPTS, BASE_POLICY, SamplingParams(n=2, max_tokens=100)))
        await asyncio.sleep(0.05)
        with pytest.raises(Exhausted, match="at most 5 may") as error:
            await queue.generate(PROMPTS[:1], BASE_POLICY, SamplingParams())
        assert 0 < error.value.retry_seconds <= 30
        assert len(await first) == 8
        assert len(await queue.generate(PROMPTS[:1], BASE_POLICY, SamplingParams(max_tokens=2))) == 1

    ask(library, crowd, most_waiting=5)


def test_one_callers_mistake_is_nobody_elses(library):
    async def two(queue: GenerationQueue) -> None:
        good, missing, long = await asyncio.gather(
            queue.generate(PROMPTS[:1], BASE_POLICY, SamplingParams(max_tokens=20)),
            queue.generate(PROMPTS[:1], "no-such-version", SamplingParams()),
            queue.generate(PROMPTS[:1], BASE_POLICY, SamplingParams(max_tokens=5000)),
            return_exceptions=True,
        )
        assert isinstance(missing, NotFound) and isinstance(long, InvalidInput) and long.field == "prompts[0]"
        assert isinstance(good, list) and good[0].sample.tokens > 0

    ask(library, two)


def test_a_failed_step_fails_the_calls_at_work_and_no_later_one(library, monkeypatch):
    async def fail(queue: GenerationQueue) -> None:
        step = NativeDecoder.step
        monkeypatch.setattr(NativeDecoder, "step", lambda decoder: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await queue.generate(PROMPTS, BASE_POLICY, SamplingParams())
        monkeypatch.setattr(NativeDecoder, "step", step)
        assert len(await queue.generate(PROMPTS, BASE_POLICY, SamplingParams(max_tokens=3))) == 4

    ask(library, fail)


@pytest.mark.parametrize(
    "place", [(NativeDecoder, "join"), (Engine, "step"), (Engine, "add")], ids=lambda place: place[1]
)
def test_a_turn_that_breaks_is_told_to_its_callers_at_once(library, monkeypatch, place):
    def broken(*_: object) -> None:
        raise SystemExit(3)

    async def fail(queue: GenerationQueue) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(*place, broken)
            calls = [queue.generate(PROMPTS, BASE_POLICY, SamplingParams()) for _ in range(2)]
            errors = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10)
            assert [str(error) for error in errors] == ["SystemExit(3)"] * 2
        assert len(await asyncio.wait_for(queue.generate(PROMPTS, BASE_POLICY, SamplingParams(max_tokens=3)), 10)) == 4

    ask(library, fail)


def test_a_caller_who_leaves_frees_the_rows(library):
    async def leave(queue: GenerationQueue) -> None:
        call = asyncio.ensure_future(
            queue.generate(PROMPTS, BASE_POLICY, SamplingParams(n=8, max_tokens=3000, temperature=0))
        )
        await asyncio.sleep(0.2)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        begun = time.monotonic()
        await queue.generate(PROMPTS[:1], BASE_POLICY, SamplingParams(max_tokens=1))
        assert time.monotonic() - begun < 1.0
        assert queue.rows == 0

    ask(library, leave)
