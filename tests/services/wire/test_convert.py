"""Every record comes back from the wire as it went."""

from __future__ import annotations

import pytest
from charter.v1 import common_pb2, preference_pb2
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.load import load_constitution
from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Critique, Opinion, Preference, Vote
from rlhf_core.records.models import PolicyVersion, RewardModelVersion, RewardQuality, Score
from rlhf_core.records.runs import Run, RunEvent
from rlhf_core.records.samples import Comparison, Message, Prompt, Sample
from services.wire.samples import (
    comparison_from_message,
    comparison_to_message,
    constitution_to_message,
    critique_from_message,
    critique_to_message,
    prompt_from_message,
    prompt_to_message,
    prompts_from_messages,
    sample_from_message,
    sample_to_message,
    vote_from_message,
    vote_to_message,
)
from services.wire.stored_records import (
    event_from_message,
    event_to_message,
    human_labeler,
    policy_version_from_message,
    policy_version_to_message,
    preference_from_message,
    preference_to_message,
    reward_model_from_message,
    reward_model_to_message,
    run_from_message,
    run_to_message,
    score_from_message,
    score_to_message,
)

PAIRS = {
    Prompt: (prompt_to_message, prompt_from_message),
    Sample: (sample_to_message, sample_from_message),
    Critique: (critique_to_message, critique_from_message),
    Vote: (vote_to_message, vote_from_message),
    Preference: (preference_to_message, preference_from_message),
    PolicyVersion: (policy_version_to_message, policy_version_from_message),
    RewardModelVersion: (reward_model_to_message, reward_model_from_message),
    Score: (score_to_message, score_from_message),
}
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
IDS = TEXT.filter(bool)
SMALL = st.integers(0, 2**31 - 1)
FLOATS = st.floats(allow_nan=False)
MESSAGES = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=TEXT)
ASKED = st.lists(MESSAGES, max_size=3).map(lambda turns: (*turns, Message(role="user", content="?")))
PROMPTS = st.builds(Prompt, id=IDS, messages=ASKED, source=IDS, tags=st.lists(TEXT).map(tuple))
SAMPLES = st.builds(
    Sample, id=IDS, prompt=PROMPTS, response=TEXT, policy_version=IDS, tokens=SMALL, logprob=FLOATS, seed=SMALL
)


@given(PROMPTS)
def test_a_prompt_is_the_same_after_its_message(prompt):
    assert prompt_from_message(prompt_to_message(prompt)) == prompt


@given(SAMPLES)
def test_a_sample_is_the_same_after_its_message(sample):
    assert sample_from_message(sample_to_message(sample)) == sample


@pytest.mark.parametrize("kind", [Critique, Vote, Preference, PolicyVersion, RewardModelVersion, Score])
@given(data=st.data())
def test_flat_records_come_back(kind: type[Record], data):
    there, back = PAIRS[kind]
    numbers = {name: SMALL for name, field in kind.model_fields.items() if field.annotation is int}
    texts = {name: TEXT for name, field in kind.model_fields.items() if field.annotation is str}
    free = {name for name, field in kind.model_fields.items() if field.annotation is float and not field.metadata}
    floats = dict.fromkeys(free, st.floats(allow_nan=False))
    record = data.draw(st.builds(kind, **numbers, **texts, **floats))
    assert back(there(record)) == record


def test_a_comparison_comes_back_and_needs_one_prompt():
    prompt = Prompt.of("Q?")
    a, b = (Sample(id=text, prompt=prompt, response=text, policy_version="base") for text in "ab")
    pair = Comparison(id="pair", a=a, b=b, run_id="r")
    assert comparison_from_message(comparison_to_message(pair)) == pair
    other = pair.model_copy(update={"b": b.model_copy(update={"prompt": Prompt.of("Other?")})})
    with pytest.raises(InvalidInput, match="different prompts"):
        comparison_from_message(comparison_to_message(other))


def test_runs_and_events_come_back_without_the_fence():
    time = "2026-01-02T03:04:05.678901+00:00"
    run = Run(
        id="r", kind="ppo", state="PAUSED", config="{}", step=3, steps=9, fence=4, created_at=time, updated_at=time
    )
    back = run_from_message(run_to_message(run))
    assert back == run.model_copy(update={"fence": 0})
    event = RunEvent(run_id="r", sequence=2, kind="note", body="{}", created_at=time)
    assert event_from_message(event_to_message(event)) == event


def test_a_constitution_shows_its_principles_and_their_hashes():
    constitution = load_constitution("assistant")
    message = constitution_to_message(constitution)
    assert message.hash == constitution.hash
    assert [p.hash for p in message.principles] == [p.hash for p in constitution.principles]
    assert [o.name for o in message.objectives] == list(constitution.objective_names)


def test_ids_left_out_are_derived_from_content():
    plain = common_pb2.Sample(prompt=common_pb2.Prompt(text="Q?"), response="A.")
    first, second = sample_from_message(plain), sample_from_message(plain)
    assert first == second
    assert first.prompt == Prompt.of("Q?")
    assert first.policy_version == "base" and first.finished


@pytest.mark.parametrize(
    ("prompt", "field"),
    [
        (common_pb2.Prompt(), "prompts[0]"),
        (common_pb2.Prompt(text="a", messages=[common_pb2.Message(content="b")]), "prompts[0]"),
        (common_pb2.Prompt(messages=[common_pb2.Message(role=3, content="b")]), "prompts[0].messages"),
        (common_pb2.Prompt(messages=[common_pb2.Message(role=9)]), "prompts[0].messages[0].role"),
        (common_pb2.Prompt(text="a", split=7), "prompts[0].split"),
    ],
)
def test_a_wrong_prompt_names_its_place(prompt, field):
    with pytest.raises(InvalidInput) as caught:
        prompts_from_messages([prompt])
    assert caught.value.field == field


def test_a_choice_must_be_given():
    with pytest.raises(InvalidInput, match="choice"):
        preference_from_message(preference_pb2.Preference(id="p"))


def test_a_labeler_of_people_has_one_name_with_or_without_its_kind():
    assert human_labeler("ana") == human_labeler("human:ana") == "human:ana"
    for wrong in ("", "human:", "ai:judge", " "):
        with pytest.raises(InvalidInput):
            human_labeler(wrong)


def test_what_a_reward_model_is_worth_comes_back_and_what_is_not_known_stays_unknown():
    quality = (
        RewardQuality(source="all", pairs=3, accuracy=0.0, accuracy_low=0.0, accuracy_high=0.6, ece=0.25),
        RewardQuality(source="human", ratings=4, rating_correlation=-0.5, steps=2, step_accuracy=1.0),
    )
    numbers = {"pairs": 1, "human_pairs": 0, "accuracy": 0.5, "accuracy_n": 0, "quality": quality}
    texts = dict.fromkeys(("id", "run_id", "objective", "base_model", "artifact", "constitution_hash"), "x")
    version = RewardModelVersion(**texts, **numbers)
    assert reward_model_from_message(reward_model_to_message(version)) == version


def test_scores_of_lines_come_back():
    score = Score(sample_id="s", objective="o", reward_model="m", score=1.0, steps=(1.0, -2.5))
    assert score_from_message(score_to_message(score)) == score


def test_what_each_judge_of_a_panel_said_comes_back_with_its_label():
    said = (
        Opinion(judge="fine", probability=0.9, weight=0.8),
        Opinion(judge="out", probability=0.5, weight=0, reason="x"),
    )
    label = Preference(
        id="p", comparison_id="c", objective="helpful", labeler="ai:panel-1", choice="a", probability=0.9, opinions=said
    )
    assert preference_from_message(preference_to_message(label)) == label
