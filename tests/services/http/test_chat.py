"""OpenAI's own client against the policy's versions: chat, streams, log-probs, models; and what is refused by name."""

from __future__ import annotations

import json
import math
import time

import httpx2
import openai
import pytest

from rlhf_core.records.samples import Message, Prompt
from services.telemetry.metrics import REGISTRY
from tests.services.http.conftest import Edge

ASKED = [{"role": "user", "content": "How do I dust a shelf?"}]


@pytest.fixture(scope="module")
def client(edge: Edge):
    with openai.OpenAI(base_url=f"{edge.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_a_seed_gives_the_response_that_it_gives_over_grpc_and_the_model_is_the_version_that_spoke(edge, client):
    turns = [{"role": "system", "content": "Be brief."}, *ASKED]
    prompt = Prompt.from_messages(tuple(Message(role=turn["role"], content=turn["content"]) for turn in turns))
    for asked, spoke in (("policyVersions/policy-1", "policy-1"), ("latest", "policy-1"), ("base", "base")):
        answer = client.chat.completions.create(model=asked, messages=turns, seed=3, n=2, max_tokens=6, temperature=0.7)
        samples = edge.grpc.policy.generate([prompt], policy_version=spoke, n=2, temperature=0.7, max_tokens=6, seed=3)
        assert answer.model == spoke and answer.object == "chat.completion" and answer.id.startswith("chatcmpl-")
        assert [choice.message.content for choice in answer.choices] == [sample.response for sample in samples]
        assert [choice.finish_reason for choice in answer.choices] == [
            "stop" if sample.finished else "length" for sample in samples
        ]
        assert [choice.index for choice in answer.choices] == [0, 1]
        # Bytes are tokens here, and a turn has one token for its role and one for its end.
        read = sum(len(turn["content"]) + 2 for turn in turns) + 1
        assert answer.usage is not None and answer.usage.prompt_tokens == read
        assert answer.usage.completion_tokens == sum(sample.tokens for sample in samples)
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_without_a_seed_each_call_is_another_draw_and_zero_temperature_is_none(client):
    def said(**more: float) -> str | None:
        answer = client.chat.completions.create(model="base", messages=ASKED, max_completion_tokens=8, **more)
        return answer.choices[0].message.content

    assert len({said() for _ in range(4)}) > 1
    assert len({said(temperature=0) for _ in range(3)}) == 1


def test_a_stream_says_what_the_whole_answer_says(client):
    how = {"model": "policy-1", "messages": ASKED, "seed": 5, "max_tokens": 12}
    whole = client.chat.completions.create(**how)
    chunks = list(client.chat.completions.create(**how, stream=True, stream_options={"include_usage": True}))
    spoken, last = chunks[:-1], chunks[-1]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in spoken) == whole.choices[0].message.content
    assert spoken[0].choices[0].delta.role == "assistant" and len(spoken) > 2
    assert [chunk.choices[0].finish_reason for chunk in spoken if chunk.choices[0].finish_reason] == [
        whole.choices[0].finish_reason
    ]
    assert {chunk.model for chunk in chunks} == {"policy-1"} and len({chunk.id for chunk in chunks}) == 1
    assert last.choices == [] and last.usage == whole.usage


def test_the_bytes_of_a_stream_are_events_that_end_with_done(edge):
    body = {"model": "base", "messages": ASKED, "seed": 1, "max_tokens": 2, "stream": True}
    answer = edge.http.post("/v1/chat/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream") and "x-request-id" in answer.headers
    events = answer.text.split("\n\n")
    assert events[-2:] == ["data: [DONE]", ""] and all(json.loads(event[6:]) for event in events[:-2])


def test_logprobs_are_of_the_tokens_of_the_content_whole_and_streamed(edge, client):
    how = {"model": "base", "messages": ASKED, "seed": 2, "max_tokens": 10, "logprobs": True}
    choice = client.chat.completions.create(**how).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    told = choice.logprobs.content
    (sample,) = edge.grpc.policy.generate([Prompt.of(ASKED[0]["content"])], max_tokens=10, seed=2)
    assert len(told) == sample.tokens - sample.finished
    total = sum(token.logprob for token in told)
    assert total == pytest.approx(sample.logprob, abs=1e-4) or (sample.finished and total >= sample.logprob)
    for token in told:
        assert token.logprob <= 0 and math.isfinite(token.logprob) and token.top_logprobs == []
        assert token.bytes == (None if "\ufffd" in token.token else list(token.token.encode()))
    streamed = [
        token
        for chunk in client.chat.completions.create(**how, stream=True)
        if chunk.choices[0].logprobs
        for token in chunk.choices[0].logprobs.content or ()
    ]
    assert [(one.token, one.logprob) for one in streamed] == [(one.token, one.logprob) for one in told]


def test_a_stop_string_ends_the_answer_before_it(client):
    how = {"model": "base", "messages": ASKED, "seed": 5, "max_tokens": 12}
    whole = client.chat.completions.create(**how).choices[0].message.content
    stop = whole[3:5]
    for given in (stop, ["never said", stop]):
        choice = client.chat.completions.create(**how, stop=given).choices[0]
        assert choice.message.content == whole[: whole.index(stop)] and choice.finish_reason == "stop"


def test_the_models_are_the_base_and_the_versions_of_the_policy(client):
    models = client.models.list().data
    assert [model.id for model in models] == ["base", "policy-1"] and models[0].owned_by == "charter"
    assert client.models.retrieve("policy-1").owned_by.startswith("run-")
    with pytest.raises(openai.NotFoundError, match="no model 'gpt'"):
        client.models.retrieve("gpt")


def test_an_alias_is_a_model_beside_the_version_that_holds_it(edge, client):
    edge.grpc.policy.promote_policy("policy-1", "candidate", allow_ungated=True, reason="a test")
    try:
        assert [model.id for model in client.models.list().data] == ["base", "candidate", "policy-1"]
        found = client.models.retrieve("candidate")
        assert found.root == "policy-1" and found.owned_by == client.models.retrieve("policy-1").owned_by
        answer = client.chat.completions.create(model="candidate", messages=ASKED, max_tokens=1)
        assert answer.model == "policy-1"
    finally:
        edge.grpc.policy.rollback_policy("candidate")
    assert [model.id for model in client.models.list().data] == ["base", "policy-1"]


@pytest.mark.parametrize(
    ("given", "param", "words"),
    [
        ({"top_p": 0.9}, "top_p", "allowed: 1, or leave it out"),
        ({"presence_penalty": 0.5}, "presence_penalty", "allowed: 0"),
        ({"top_logprobs": 2, "logprobs": True}, "top_logprobs", "allowed: 0"),
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools", "not supported here"),
        ({"response_format": {"type": "json_object"}}, "response_format", "not supported here"),
        ({"extra_body": {"top_k": 5}}, "top_k", "no parameter of this server"),
        ({"n": 2, "stream": True}, "n", "2 with stream"),
    ],
)
def test_a_parameter_that_is_not_carried_out_is_refused_by_its_name(client, given, param, words):
    with pytest.raises(openai.BadRequestError, match=words) as caught:
        client.chat.completions.create(model="base", messages=ASKED, **given)
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


def test_values_that_ask_for_nothing_pass(client):
    nothing = {
        "top_p": 1,
        "frequency_penalty": 0,
        "presence_penalty": 0,
        "tools": [],
        "response_format": {"type": "text"},
    }
    assert client.chat.completions.create(model="base", messages=ASKED, max_tokens=1, n=None, seed=None, **nothing)


@pytest.mark.parametrize(
    ("given", "kind", "param", "words"),
    [
        ({"model": "gpt-4"}, openai.NotFoundError, None, "no policy version 'gpt-4'"),
        ({"model": "gpt-4", "stream": True}, openai.NotFoundError, None, "no policy version 'gpt-4'"),
        ({"model": ""}, openai.BadRequestError, "model", "at least 1 character"),
        ({"model": "rewardModels/x"}, openai.BadRequestError, "model", "is not of policyVersions"),
        ({"messages": []}, openai.BadRequestError, "messages", "at least 1 item"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, openai.BadRequestError, "messages", "the user's"),
        ({"messages": [{"role": "user", "content": "x" * 5000}]}, openai.BadRequestError, "messages", "the context of"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            openai.BadRequestError,
            None,
            "image_url",
        ),
        ({"temperature": -1}, openai.BadRequestError, "temperature", "greater than or equal to 0"),
        ({"max_tokens": 0}, openai.BadRequestError, "max_tokens", "greater than or equal to 1"),
        ({"max_tokens": 2, "max_completion_tokens": 3}, openai.BadRequestError, "max_tokens", "give one"),
        ({"n": 300}, openai.BadRequestError, "n", "256"),
        ({"seed": 2**63}, openai.BadRequestError, "seed", "less than"),
        ({"stop": ["x"] * 17}, openai.BadRequestError, "stop", "16"),
        ({"stream_options": {"include_usage": True}}, openai.BadRequestError, "stream_options", "only with stream"),
    ],
)
def test_what_is_wrong_is_told_in_the_words_of_the_request(client, given, kind, param, words):
    with pytest.raises(kind, match=words) as caught:
        client.chat.completions.create(**{"model": "base", "messages": ASKED, **given})
    assert param is None or caught.value.param == param


def being_written() -> float:
    return REGISTRY.get_sample_value("charter_waiting_rows", {"queue": "responses"}) or 0.0


@pytest.mark.parametrize("stream", [True, False])
def test_a_caller_who_leaves_stops_the_model(edge, stream):
    tokens = REGISTRY.get_sample_value("charter_batch_rows_count", {"queue": "responses"}) or 0.0
    body = {"model": "base", "messages": ASKED, "seed": 9, "max_tokens": 3000, "stream": stream, "stop": ["\x01never"]}
    if stream:
        with edge.http.stream("POST", "/v1/chat/completions", json=body) as answer:
            lines = answer.iter_lines()
            assert next(lines).startswith("data: {")
            assert being_written() == 1
    else:
        with pytest.raises(httpx2.ReadTimeout):
            edge.http.post("/v1/chat/completions", json=body, timeout=0.3)
    until = time.monotonic() + 10
    while being_written() and time.monotonic() < until:
        time.sleep(0.01)
    assert being_written() == 0
    written = (REGISTRY.get_sample_value("charter_batch_rows_count", {"queue": "responses"}) or 0.0) - tokens
    assert written < 2500
