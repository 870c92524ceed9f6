"""A judge that reads each reply alone, by a scripted critic and by the sandbox's own."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from rlhf_core.config.run import LabelConfig, ModelConfig
from rlhf_core.constitution.load import load_constitution
from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.critic import TEMPLATE_HASH
from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.judge_protocol import TEMPLATE_HASHES
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.feedback.pointwise_judge import weight_of
from rlhf_core.feedback.vote_aggregation import abstention, alone, side
from rlhf_core.inference.choice_logprobs import choose
from rlhf_core.inference.generate import chat
from rlhf_core.interfaces import Conversation
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.feedback import Critique, Protocol, Verdict
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.sandbox.sandbox import MODEL_FOLDER, Sandbox

CUTS = Principle(id="cuts", serves={"safe": 1}, critique="Any cuts?", revise="Leave them out.", compare="Fewer cuts?")
STEPS = Principle(id="steps", serves={"helpful": 1}, compare="More steps?")
PROMPT = Prompt.of("How do I make salad?")
FAULTS = {
    "use a knife and a saw": 'danger 2, "a knife"\ndanger 1, "a saw"\nVerdict: violates',
    "use a spoon": "safe\nVerdict: complies",
    "use a fork": 'mind "a fork"\nVerdict: borderline',
    "use a jar": "no idea",
}
KNIFE, SPOON, FORK, JAR = FAULTS


def sample(response: str) -> Sample:
    return Sample(id=response, prompt=PROMPT, response=response, policy_version="base")


def pair(a: str, b: str) -> Comparison:
    return Comparison.of(sample(a), sample(b), "run")


class Model:
    """Criticises from a table, takes notes on pairs, and prefers whichever reply is shown first."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def chat(self, conversations: Sequence[Conversation]) -> list[str]:
        return [self._say(turns) for turns in conversations]

    def _say(self, turns: Conversation) -> str:
        found = re.search(r"Reply:\n(.*)", turns[0].content)
        self.read += [found[1]] if found else []
        return FAULTS[found[1]] if found else "noted"

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        return [[-0.1, -3.0]] * len(conversations)


@pytest.fixture
def model() -> Model:
    return Model()


def judge(model: Model, notebook: Notebook | None = None, pointwise: bool = True) -> ModelFeedback:
    return ModelFeedback(model.chat, model.choose, "law", "judge", notebook, pointwise=pointwise)


def critique(verdict: Verdict | None, text: str) -> Critique:
    return Critique(
        sample_id="s",
        principle_id="p",
        principle_hash="p",
        constitution_hash="c",
        template_hash="t",
        critic="critic",
        verdict=verdict,
        text=text,
        spans=(),
    )


@pytest.mark.parametrize(
    ("verdict", "text", "points"),
    [
        ("complies", '"a knife" is fine, danger 3', 0),
        ("violates", 'danger 2, "a knife"\nDanger 1, "a saw"', 3),
        ("violates", 'danger 2, "a knife"\ndanger 3, "an axe"', 2),
        ("violates", '"a knife" and "a saw"', 4),
        ("borderline", '"a knife"', 1),
        ("violates", 'danger 9, "a knife"', 2),
        ("violates", '"a knife and\na saw"', 1),
        (None, 'danger 2, "a knife"', None),
    ],
    ids=["complies", "graded", "invented", "two quoted", "borderline", "no such grade", "over two lines", "unreadable"],
)
def test_what_is_quoted_weighs_what_the_critic_says_or_else_by_the_verdict(verdict, text, points):
    assert weight_of(critique(verdict, text), "Use a knife and a saw.") == points


def test_the_lighter_reply_is_better_in_either_order_to_the_last_bit(model: Model):
    first, second = judge(model).compare([(pair(KNIFE, SPOON), CUTS)])
    # Faults of 2 + 1 points against none, at 1.2 nats a point.
    assert first.logprob_a - first.logprob_b == pytest.approx(-3.6, abs=1e-12)
    assert (first.logprob_a, first.logprob_b) == (second.logprob_a, second.logprob_b)
    assert (first.swapped, second.swapped, first.id == second.id) == (False, True, False)
    turned, _ = judge(model).compare([(pair(SPOON, KNIFE), CUTS)])
    assert (turned.logprob_a, turned.logprob_b) == (first.logprob_b, first.logprob_a)
    assert alone([first, second]).gap == 0.0
    assert first.text == f"Reply A:\n{FAULTS[KNIFE]}\n\nReply B:\n{FAULTS[SPOON]}"


def test_equal_faults_are_a_tie(model: Model):
    votes = judge(model).compare([(pair(SPOON, SPOON), CUTS)])
    assert alone(votes).probability == 0.5 and side(alone(votes), LabelConfig()) == 0


def test_a_reply_is_read_once_for_all_its_pairs(model: Model):
    notebook = Notebook()
    judge(model, notebook).compare([(one, CUTS) for one in (pair(KNIFE, SPOON), pair(SPOON, FORK), pair(FORK, KNIFE))])
    assert sorted(model.read) == sorted([KNIFE, SPOON, FORK])
    judge(model, notebook).compare([(pair(FORK, SPOON), CUTS)])
    assert len(model.read) == 3
    judge(model, notebook).compare([(pair(FORK, SPOON), CUTS.model_copy(update={"critique": "Is it sharp?"}))])
    assert len(model.read) == 5, "another principle reads them again"


def test_a_critique_that_cannot_be_read_is_no_vote(model: Model):
    votes = judge(model).compare([(pair(JAR, SPOON), CUTS)])
    assert [(vote.label_mass, vote.reason) for vote in votes] == [(0.0, "no_verdict")] * 2
    assert abstention(alone(votes), LabelConfig()) == "parse_failure"


def test_a_principle_that_only_compares_is_asked_as_without_it(model: Model):
    questions = [(pair(KNIFE, SPOON), STEPS), (pair(KNIFE, FORK), CUTS), (pair(SPOON, FORK), STEPS)]
    votes = judge(model).compare(questions)
    assert [(vote.principle_id, vote.protocol) for vote in votes[::2]] == [
        ("steps", "notes"),
        ("cuts", "pointwise"),
        ("steps", "notes"),
    ]
    plain = judge(model, pointwise=False).compare([questions[0], questions[2]])
    said = [(vote.comparison_id, vote.swapped, vote.logprob_a, vote.logprob_b, vote.text) for vote in votes]
    assert [said[place] for place in (0, 1, 4, 5)] == [
        (vote.comparison_id, vote.swapped, vote.logprob_a, vote.logprob_b, vote.text) for vote in plain
    ]


def test_its_votes_never_mix_with_those_of_other_protocols(model: Model):
    hashes = {judge(model).template_hash, TEMPLATE_HASH, *TEMPLATE_HASHES.values()}
    assert len(hashes) == 2 + len(TEMPLATE_HASHES)


def test_votes_are_others_where_the_judge_may_write_more_or_less(model: Model):
    def hash_at(most: int | None, pointwise: bool, protocol: Protocol = "notes") -> str:
        return ModelFeedback(
            model.chat, model.choose, "law", "judge", protocol=protocol, pointwise=pointwise, most_tokens=most
        ).template_hash

    for pointwise in (True, False):
        assert len({hash_at(most, pointwise) for most in (None, 48, 400)}) == 3
    assert hash_at(48, False, "logprobs") == hash_at(400, False, "logprobs")


def test_the_sandboxs_model_weighs_hazards_as_the_truth_does_but_for_a_slip_in_forty():
    """It reads 98 of 100 replies right, and a vote reads two."""
    sandbox, backbone = Sandbox(), Backbone.load(str(MODEL_FOLDER), ModelConfig())
    feedback = ModelFeedback(
        lambda conversations: chat(backbone, conversations, ModelConfig().feedback_tokens),
        lambda conversations, labels: choose(backbone, conversations, labels),
        "law",
        "judge",
        pointwise=True,
    )
    principles = load_constitution("household").critiquing()
    pairs = sandbox.pairs(24, seed=11)
    votes = iter(feedback.compare([(one, principle) for one in pairs for principle in principles])[::2])
    odds = [(next(votes), sandbox.truth(one, principle.compare)) for one in pairs for principle in principles]
    assert sum(truth != 0 for _, truth in odds) > 20
    right = [vote.logprob_a - vote.logprob_b == pytest.approx(truth) for vote, truth in odds]
    assert len(right) == 120 and sum(right) >= 117
