"""How a judge's answer is read. Numbers worked by hand: log 0.8 - log 0.2 = log 4 = 1.38629."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.constitution import CompareDefaults, Constitution, Defaults, Objective, Principle
from rlhf_core.feedback.judge_answers import read_choice, weigh
from rlhf_core.feedback.judge_protocol import TEMPLATE_HASHES, family, is_pointwise, protocol_of
from rlhf_core.feedback.pairwise_judge import ask
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Message

QUESTION = (Message(role="user", content="Which is safer?"),)


def law(cot: bool | None = None, pointwise: bool | None = None) -> Constitution:
    return Constitution(
        id="law",
        version="1.0.0",
        objectives=(Objective(name="harmless"),),
        principles=(Principle(id="fumes", serves={"harmless": 1.0}, compare="Which has less risk of fumes?"),),
        defaults=Defaults(compare=CompareDefaults(cot=cot, pointwise=pointwise)),
    )


@pytest.mark.parametrize(
    ("text", "odds"),
    [
        ("A opens the window.\nBetter: A", math.log(4)),
        ("Better: B", -math.log(4)),
        ("Both do.\n\nBetter: tie\n", 0.0),
        ("**Better: (B).**", -math.log(4)),
        ("better : a", math.log(4)),
    ],
)
def test_the_last_line_is_the_choice(text: str, odds: float):
    answer = read_choice(text)
    assert answer.first - answer.second == pytest.approx(odds)
    assert (answer.mass, answer.reason, answer.text) == (1.0, "", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no_choice"),
        ("A", "no_choice"),
        ("Better: A\nOr rather B.", "no_choice"),
        ("Better: A or B", "no_choice"),
        ("Better: Apple", "no_choice"),
        ("Better: C", "no_choice"),
        ("The reply says Better: A", "no_choice"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("I cannot compare these replies.", "refusal"),
    ],
)
def test_what_cannot_be_read_is_no_choice_and_says_why(text: str, reason: str):
    answer = read_choice(text)
    assert (answer.mass, answer.reason) == (0.0, reason)
    assert answer.first == answer.second


@given(st.text(max_size=200))
def test_any_text_is_a_choice_or_a_reason(text: str):
    answer = read_choice(text)
    assert bool(answer.reason) == (answer.mass == 0.0)
    assert math.isfinite(answer.first - answer.second)


def test_the_text_protocol_asks_once_for_words_and_never_weighs():
    answers = ask(lambda asked: ["Better: A" for _ in asked], never, "text", [QUESTION, QUESTION])
    assert [round(answer.first - answer.second, 5) for answer in answers] == [1.38629, 1.38629]


def never(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
    raise AssertionError("log-probabilities were asked for")


def test_a_chain_of_thought_stands_before_the_labels_are_weighed():
    seen: list[Conversation] = []

    def choose(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        seen.extend(conversations)
        return [[math.log(0.9), math.log(0.05)] for _ in conversations]

    [answer] = ask(lambda asked: ["A airs the room." for _ in asked], choose, "cot", [QUESTION])
    assert [(turn.role, turn.content) for turn in seen[0]] == [
        ("user", "Which is safer?"),
        ("assistant", "A airs the room."),
        ("user", "Answer A or B."),
    ]
    assert (answer.text, answer.mass) == ("A airs the room.", pytest.approx(0.95))


def test_labels_that_the_judge_does_not_name_are_no_vote():
    answer = weigh([-math.inf, -math.inf], "thoughts")
    assert (answer.reason, answer.mass, answer.first) == ("no_label", 0.0, answer.second)


@pytest.mark.parametrize(
    ("configured", "cot", "gives_logprobs", "protocol"),
    [
        ("logprobs", None, True, "logprobs"),
        ("logprobs", True, True, "cot"),
        ("cot", False, True, "logprobs"),
        ("cot", None, True, "cot"),
        ("cot", None, False, "text"),
        ("logprobs", None, False, "text"),
        ("text", True, True, "text"),
        ("pointwise", None, True, "notes"),
        ("pointwise", True, True, "cot"),
        ("pointwise", None, False, "text"),
    ],
)
def test_the_constitution_may_ask_for_reasoning_and_the_judge_decides_what_is_possible(
    configured, cot, gives_logprobs, protocol
):
    assert protocol_of(configured, law(cot).defaults.compare, gives_logprobs) == protocol


@pytest.mark.parametrize(
    ("configured", "wished", "alone"),
    [("pointwise", None, True), ("notes", None, False), ("notes", True, True), ("pointwise", False, False)],
)
def test_the_constitution_may_ask_that_replies_are_read_alone(configured, wished, alone):
    assert is_pointwise(configured, law(pointwise=wished).defaults.compare) == alone


def test_votes_of_different_protocols_have_different_templates():
    assert len(set(TEMPLATE_HASHES.values())) == len(TEMPLATE_HASHES) >= 3


def test_models_of_one_line_are_one_family():
    assert family("openai:gpt-4o-2026-01-01@api.openai.com") == family("openai:gpt-5@api.openai.com")
    assert family("meta-llama/Llama-3.1-8B-Instruct@abc") == family("llama-2@x") == "llama"
    assert family("Qwen/Qwen3-8B@1") != family("mistralai/Mistral-7B@1")
    assert family("my-own@12") == "my-own" != family("another@12")
