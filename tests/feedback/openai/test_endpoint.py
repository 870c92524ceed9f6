"""The client against a real HTTP server that is scripted to be busy, broken, slow, terse or unwilling."""

from __future__ import annotations

import json
import math
import socket
import time

import pytest

from rlhf_core.config.feedback import EndpointConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.feedback.judge_answers import weigh
from rlhf_core.feedback.openai import rate_limit
from rlhf_core.feedback.openai.client import Endpoint
from rlhf_core.feedback.openai.response import LEAST
from rlhf_core.interfaces import Caller
from rlhf_core.records.feedback import Usage
from rlhf_core.records.samples import Message
from tests.endpoint import Reply, Request, fails, in_turn, says, served

KEY = "sk-very-secret"
ASK = (Message(role="user", content="Which is better?"),)


def endpoint(url: str, **settings: object) -> Endpoint:
    return Endpoint("tiny", EndpointConfig.model_validate({"base_url": url, **settings}), KEY)


class Bill:
    def __init__(self) -> None:
        self.total = Usage()

    def __call__(self, usage: Usage) -> None:
        self.total = self.total.plus(usage)


def test_a_turn_is_asked_greedily_with_the_key_and_its_tokens_are_billed():
    bill = Bill()
    with served(in_turn([says(" Reply A. ", tokens=(1_000_000, 500_000))])) as server:
        asked = endpoint(server.url, prompt_price=2, completion_price=8)
        assert asked.chat([ASK], 40, Caller(bill=bill)) == ["Reply A."]
    (request,) = server.requests
    assert request.path == "/v1/chat/completions" and request.key == f"Bearer {KEY}"
    assert request.body["messages"] == [{"role": "user", "content": "Which is better?"}]
    assert (request.body["temperature"], request.body["max_tokens"]) == (0, 40)
    # 1 million at 2 and half a million at 8.
    assert bill.total == Usage(requests=1, prompt_tokens=1_000_000, completion_tokens=500_000, cost=6.0)


def test_an_answer_without_a_count_of_tokens_is_told_and_not_guessed():
    bill = Bill()
    with served(in_turn([says("A", tokens=None)])) as server:
        endpoint(server.url).chat([ASK], 4, Caller(bill=bill))
    assert bill.total == Usage(requests=1, unmetered=1)


def test_answers_come_in_the_order_of_the_questions_and_no_more_are_under_way_than_allowed():
    def slow_first(request: Request, _: int) -> Reply:
        number = int(request.asked)
        return says(f"answer {number}")._replace(wait_seconds=0.2 if number == 0 else 0.02)

    asked = [(Message(role="user", content=str(n)),) for n in range(12)]
    with served(slow_first) as server:
        answers = endpoint(server.url, concurrency=3).chat(asked, 4, Caller())
    assert answers == [f"answer {n}" for n in range(12)]
    assert server.most_at_once == [3]


def test_a_busy_endpoint_is_asked_again_after_the_rest_that_it_asks_for():
    bill = Bill()
    replies = [fails(429, "slow down", Retry_After="0.6"), says("B")]
    with served(in_turn(replies)) as server:
        assert endpoint(server.url).chat([ASK], 4, Caller(bill=bill)) == ["B"]
    first, second = server.requests
    assert 0.6 <= second.at - first.at < 1.5
    assert (bill.total.requests, bill.total.retries) == (1, 1)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (fails(500, "out of memory"), r"500: out of memory \(2 tries\)"),
        (Reply(502, b"<html>bad gateway</html>"), r"502: bad gateway \(2 tries\)"),
        (Reply(200, b"<html>hello</html>"), "not OpenAI's protocol"),
        (Reply(200, b'{"choices": [{"message": {"content": 3}}]}'), r"choices\.0\.message\.content"),
        (Reply(200, b'{"object": "chat.completion", "choices": []}'), "choices"),
    ],
)
def test_a_broken_answer_is_asked_for_again_and_then_told_in_one_line(
    broken: Reply, told: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(rate_limit, "FIRST_WAIT", 0.01)
    with served(in_turn([broken, says("A")])) as server:
        assert endpoint(server.url).chat([ASK], 4, Caller()) == ["A"]
    with served(in_turn([broken])) as server, pytest.raises(Unavailable, match=told) as caught:
        endpoint(server.url, retries=1).chat([ASK], 4, Caller())
    assert len(server.requests) == 2
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"error": {"message": "too many tokens", "code": 400}}', "400: too many tokens"),
        (b'{"error": "too many tokens"}', "400: too many tokens"),
        (b'{"object": "error", "message": "too many tokens", "type": "Bad", "code": 400}', "400: too many tokens"),
        (b'{"detail": "too many tokens"}', "400: too many tokens"),
        (b'{"detail": [{"loc": ["body", "n"], "msg": "too big", "type": "x"}]}', "400: body.n: too big"),
        (b'[{"error": {"code": 400, "message": "too many tokens", "status": "INVALID"}}]', "400: too many tokens"),
        (b'{"error": "Bad Request", "message": "too many\\ntokens"}', "400: Bad Request: too many tokens"),
        (b'{"error": {"message": null, "code": null}, "detail": null}', '400: {"message": null'),
        (b'{"status": 7}', '400: {"status": 7}'),
        (b'"too many tokens"', "400: too many tokens"),
        (b"<html><style>a {}</style><h1>Bad &amp; worse</h1>\x1b[31m</html>", "400: Bad & worse [31m"),
        (b"too many tokens", "400: too many tokens"),
        (b"\xff\xfe", "400: "),
        (b"[" * 100_000, "400: [[["),
        (b"", "(400)"),
    ],
)
def test_the_words_of_a_refusal_are_told_whatever_their_shape(body: bytes, told: str):
    with served(in_turn([Reply(400, body)])) as server, pytest.raises(InvalidInput) as refused:
        endpoint(server.url).probe()
    assert told in str(refused.value) and str(refused.value).isprintable()


def answer(top: object, **more: object) -> Reply:
    """A completion whose likeliest first tokens are as given, in JSON."""
    first = {"token": "A", "logprob": -0.01, "top_logprobs": top}
    choice = {"message": {"content": "A"}, "logprobs": {"content": [first]}}
    return Reply(200, json.dumps({"choices": [choice], **more}).encode())


@pytest.mark.parametrize("filler", [-9999.0, -100, -1000.0, -3.4e38, -math.inf])
def test_a_label_whose_log_probability_is_a_filler_has_at_most_what_the_others_leave(filler: float):
    top = [{"token": "A", "logprob": math.log(0.875)}, {"token": "B", "logprob": filler}]
    with served(in_turn([answer(top)])) as server:
        [row] = endpoint(server.url).choose([ASK], "AB", Caller())
    assert row == pytest.approx([math.log(0.875), math.log(0.125)])
    both = [{"token": token, "logprob": filler} for token in "AB"]
    with served(in_turn([answer(both)])) as server:
        assert endpoint(server.url).choose([ASK], "AB", Caller()) == [[-math.inf, -math.inf]]


def test_log_probabilities_have_a_floor_and_rounding_takes_none_above_0():
    top = [{"token": "A", "logprob": 1e-6}, {"token": "B", "logprob": -90.0}]
    with served(in_turn([answer(top)])) as server:
        [row] = endpoint(server.url).choose([ASK], "AB", Caller())
    assert row == [0.0, LEAST] and weigh(row).mass == 1


@pytest.mark.parametrize("value", [math.nan, "-0.1", "low", True, [], None, 3.0, math.inf])
def test_what_is_no_log_probability_is_refused_by_its_place(value: object):
    top = [{"token": "A", "logprob": -0.1}, {"token": "B", "logprob": value}]
    with served(in_turn([answer(top)])) as server, pytest.raises(Unavailable, match=r"top_logprobs\.1\.logprob"):
        endpoint(server.url, retries=0).choose([ASK], "AB", Caller())


def test_optional_fields_that_are_null_are_absent():
    nulls = {"model": None, "usage": {"prompt_tokens": None, "completion_tokens": 3}, "system_fingerprint": None}
    bill = Bill()
    with served(in_turn([answer(None, **nulls)])) as server:
        asked = endpoint(server.url)
        asked.probe()
        assert asked.name.startswith("openai:tiny@")
        [row] = asked.choose([ASK], "AB", Caller(bill=bill))
    assert row[0] == pytest.approx(-0.01) and bill.total.completion_tokens == 3


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (5, "top_logprobs may be at most 5"),
        (8, "top_logprobs must be between 0 and 8, got {asked} (code 400)"),
        (3, "Input to top_logprobs should be less than 4"),
        (7, "'top_logprobs' of gpt-4 v2.1 is above 7"),
        (5, "top_logprobs {asked} is not supported"),
        (1, "logprobs: only 1 is supported"),
    ],
)
def test_an_endpoint_that_names_the_number_of_log_probabilities_that_it_gives_is_asked_for_that(most: int, words: str):
    def limited(request: Request, _: int) -> Reply:
        if (asked := request.body.get("top_logprobs", 0)) > most:
            told = {"object": "error", "message": words.format(asked=asked), "type": "BadRequestError", "code": 400}
            return Reply(400, json.dumps(told).encode())
        return says("A", {"A": 0.9, "B": 0.1})

    with served(limited) as server:
        asked = endpoint(server.url)
        asked.probe()
    assert asked.top == most and len(server.requests) == 2


def test_a_slow_answer_is_given_up_and_asked_for_again():
    replies = [says("late")._replace(wait_seconds=0.5), says("in time")]
    with served(in_turn(replies)) as server:
        assert endpoint(server.url, timeout_seconds=0.15).chat([ASK], 4, Caller()) == ["in time"]
    with (
        served(in_turn([says("late")._replace(wait_seconds=0.3)])) as server,
        pytest.raises(Unavailable, match=r"no answer within 0.1 s \(1 try\)"),
    ):
        endpoint(server.url, timeout_seconds=0.1, retries=0).chat([ASK], 4, Caller())


def test_an_account_that_is_spent_or_a_rest_of_hours_is_told_at_once():
    for reply in (fails(429, "no credit", "insufficient_quota"), fails(429, "tomorrow", Retry_After="7200")):
        with served(in_turn([reply])) as server, pytest.raises((InvalidInput, Unavailable), match=r"no credit|7200 s"):
            endpoint(server.url).chat([ASK], 4, Caller())
        assert len(server.requests) == 1


def test_a_refused_key_is_named_by_its_variable_and_shown_nowhere():
    with served(in_turn([fails(401, f"Incorrect API key provided: {KEY}")])) as server:
        asked = endpoint(server.url)
        with pytest.raises(InvalidInput, match=r"refuses the key in OPENAI_API_KEY \(401: .*\*\*\*\)") as caught:
            asked.probe()
    assert KEY not in str(caught.value) + asked.name + repr(asked)
    assert len(server.requests) == 1


def test_an_unknown_model_and_a_silent_address_are_told_in_one_line():
    with (
        served(in_turn([fails(404, "The model `tiny` does not exist")])) as server,
        pytest.raises(InvalidInput, match="no model 'tiny' at http://127"),
    ):
        endpoint(server.url).probe()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"openai:tiny@127.0.0.1:\d+: cannot be reached: .*\(2 tries\)"):
            endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1").probe()
        assert time.monotonic() - began < 3


def test_the_probe_learns_the_revision_and_what_the_endpoint_accepts():
    def modern(request: Request, _: int) -> Reply:
        if "max_tokens" in request.body:
            return fails(400, "Unsupported parameter: 'max_tokens'; use 'max_completion_tokens'")
        if request.body.get("top_logprobs", 0) > 5:
            return fails(400, "top_logprobs must be at most 5")
        if "temperature" in request.body:
            return fails(400, "'temperature' does not support 0")
        return says("A", {"A": 0.9, "B": 0.1}, model="tiny-2026-01-01")

    with served(modern) as server:
        asked = endpoint(server.url)
        asked.probe()
        assert (asked.gives_logprobs, asked.top) == (True, 5)
        assert asked.name == f"openai:tiny-2026-01-01@{asked.host}"
        before = len(server.requests)
        asked.choose([ASK], "AB", Caller())
        assert len(server.requests) == before + 1
    with served(in_turn([says("A")])) as server:
        terse = endpoint(server.url)
        terse.probe()
    assert not terse.gives_logprobs


def test_labels_are_weighed_with_and_without_spaces_around_them():
    top = {"A": 0.5, " A": 0.25, "B": 0.125, "I": 0.0625}
    with served(in_turn([says("A", top)])) as server:
        [row] = endpoint(server.url).choose([ASK], "AB", Caller())
    assert row == pytest.approx([math.log(0.75), math.log(0.125)])


def test_a_label_that_is_not_among_the_likeliest_has_at_most_what_they_leave():
    with served(in_turn([says("A", {"A": 0.875, "I": 0.1})])) as server:
        [row] = endpoint(server.url).choose([ASK], "AB", Caller())
    assert row == pytest.approx([math.log(0.875), math.log(0.025)])


@pytest.mark.parametrize("reply", [says("A"), says("I", {"I": 0.9, "We": 0.1})])
def test_an_answer_without_either_label_tells_nothing_of_their_order(reply: Reply):
    with served(in_turn([reply])) as server:
        assert endpoint(server.url).choose([ASK], "AB", Caller()) == [[-math.inf, -math.inf]]


def test_requests_keep_the_pace_of_the_account():
    with served(in_turn([says("A")])) as server:
        endpoint(server.url, requests_per_minute=600).chat([ASK] * 6, 4, Caller())
    times = sorted(request.at for request in server.requests)
    # 600 a minute is one every 0.1 s; the clocks of two threads are looked at a moment apart.
    assert times[-1] - times[0] >= 0.45


def test_work_ends_soon_after_its_caller_has_gone():
    began = time.monotonic()
    with (
        served(in_turn([says("A")._replace(wait_seconds=0.4)])) as server,
        pytest.raises(Unavailable, match="given up"),
    ):
        endpoint(server.url, concurrency=1).chat([ASK] * 50, 4, Caller(gone=lambda: time.monotonic() - began > 0.5))
    assert len(server.requests) <= 3
    assert time.monotonic() - began < 3
