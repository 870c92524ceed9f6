"""Feedback by contrast: a reply after a principle's good examples against the same reply after its bad ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rlhf_core.config.feedback import BackendConfig, CriticConfig, FeedbackConfig, JudgeConfig
from rlhf_core.config.run import ModelConfig
from rlhf_core.constitution.principle import Example, Principle, PrincipleTest
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.contrast import Reader, boundary, compare_by_contrast, context, log_ratios
from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.model_feedback import Critic, ModelFeedback
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Comparison, Message, Prompt, Sample
from services.serving.backends import LocalModel, load_backends

SALT = Example(prompt="Soup?", bad="Salt it a lot.", critique='"a lot"', good="Salt it a little.")
LITTLE = Principle(
    id="little-salt",
    serves={"healthy": 1},
    critique="Too much salt?",
    revise="Use less.",
    compare="Less salt?",
    examples=(SALT,),
    tests=(PrincipleTest(prompt="Stew?", prefer="A pinch.", over="A cup."),),
)
WORDLESS = Principle(id="short", serves={"healthy": 1}, compare="Which is shorter?")
PROMPT = Prompt.of("Rice?")
AFTER_GOOD = {"A pinch.": -3.0, "A cup.": -9.0, "A spoon.": -4.0, "A sack.": -8.0}
AFTER_BAD = {"A pinch.": -8.0, "A cup.": -4.0, "A spoon.": -5.0, "A sack.": -6.0}
"""Log-probs of replies, made up: the ratios are 5, -5, 1 and -2 nats."""


class Model:
    """Weighs replies from two tables, by which half of the example it was shown, and answers with that half."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def weigh(self, conversations: Sequence[Conversation], replies: Sequence[str]) -> list[float]:
        self.read += replies
        tables = [AFTER_GOOD if self._shown(one) == SALT.good else AFTER_BAD for one in conversations]
        return [table[reply] for table, reply in zip(tables, replies, strict=True)]

    def chat(self, conversations: Sequence[Conversation]) -> list[str]:
        return [self._shown(one) for one in conversations]

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        return [[math.log(0.9), math.log(0.1)] for _ in conversations]

    @staticmethod
    def _shown(conversation: Conversation) -> str:
        return next(message.content for message in conversation if message.role == "assistant")


def sample(response: str) -> Sample:
    return Sample(id=response, prompt=PROMPT, response=response, policy_version="base")


def pair(a: str, b: str) -> Comparison:
    return Comparison.of(sample(a), sample(b), "run")


def feedback(model: Model) -> ModelFeedback:
    critic = Critic("model", model.chat, model.weigh)
    return ModelFeedback(
        model.chat, model.choose, "law", "model", critic=critic, protocol="logprobs", weigh=model.weigh
    )


def test_examples_stand_before_a_conversation_and_behind_its_system_turn() -> None:
    turns = [Message(role="system", content="Be brief."), Message(role="user", content="Rice?")]
    assert [(m.role, m.content) for m in context(LITTLE, turns, good=False)] == [
        ("system", "Be brief."),
        ("user", "Soup?"),
        ("assistant", "Salt it a lot."),
        ("user", "Rice?"),
    ]


def test_the_log_odds_of_a_pair_are_the_difference_of_its_log_ratios() -> None:
    answer = compare_by_contrast(Reader("m", Model().weigh), [(pair("A spoon.", "A sack."), LITTLE)], Notebook())[0]
    assert answer.first - answer.second == pytest.approx(3.0)  # 1 - (-2)
    assert math.exp(answer.first) + math.exp(answer.second) == pytest.approx(1.0)


def test_with_its_examples_turned_round_the_judge_prefers_the_other_reply() -> None:
    turned = LITTLE.model_copy(update={"examples": (SALT.model_copy(update={"good": SALT.bad, "bad": SALT.good}),)})
    asked = pair("A spoon.", "A sack.")
    right, wrong = (
        compare_by_contrast(Reader("m", Model().weigh), [(asked, one)], Notebook())[0] for one in (LITTLE, turned)
    )
    assert right.first - right.second == pytest.approx(-(wrong.first - wrong.second))


def test_the_two_orders_of_a_contrast_are_one_reading() -> None:
    there, back = feedback(Model()).compare([(pair("A sack.", "A spoon."), LITTLE)])
    assert (there.logprob_a, there.logprob_b) == (back.logprob_a, back.logprob_b)
    assert (there.protocol, there.swapped, back.swapped) == ("contrast", False, True)
    assert there.logprob_a - there.logprob_b == pytest.approx(-3.0)


def test_a_principle_without_examples_is_asked_in_words() -> None:
    votes = feedback(Model()).compare([(pair("A spoon.", "A sack."), LITTLE), (pair("A spoon.", "A sack."), WORDLESS)])
    assert [vote.protocol for vote in votes] == ["contrast", "contrast", "logprobs", "logprobs"]


def test_a_reply_complies_from_half_way_between_the_two_sides_of_the_tests() -> None:
    model = Model()
    assert boundary(Reader("m", model.weigh), LITTLE, Notebook()) == pytest.approx(0.0)  # between 5 and -5
    spoon, sack = feedback(model).critique([(sample("A spoon."), LITTLE), (sample("A sack."), LITTLE)])
    assert (spoon.verdict, sack.verdict) == ("complies", "violates")
    assert sack.text == "-2.00 nats for the good examples over the bad ones; complies from +0.00."


def test_a_revision_is_an_answer_after_the_good_examples() -> None:
    asked = feedback(Model())
    [critique] = asked.critique([(sample("A sack."), LITTLE)])
    assert asked.revise([(sample("A sack."), critique, LITTLE)]) == ["Salt it a little."]


def test_no_reply_is_read_twice_under_one_principle() -> None:
    model, notebook = Model(), Notebook()
    for _ in range(2):
        log_ratios(Reader("m", model.weigh), [(PROMPT, "A spoon."), (PROMPT, "A spoon.")], [LITTLE, LITTLE], notebook)
    assert model.read == ["A spoon.", "A spoon."]  # once after either half


def test_a_critic_of_another_model_reads_for_itself_and_it_too_reads_no_reply_twice() -> None:
    judge, critic, notebook = Model(), Model(), Notebook()

    def turned(conversations: Sequence[Conversation], replies: Sequence[str]) -> list[float]:
        return [-logprob for logprob in critic.weigh(conversations, replies)]

    def asked() -> ModelFeedback:
        """As a server makes it for each unit of work, with the notebook that it keeps."""
        by = Critic("critic", critic.chat, turned)
        return ModelFeedback(judge.chat, judge.choose, "law", "judge", notebook, by, "logprobs", weigh=judge.weigh)

    question = [(pair("A spoon.", "A sack."), LITTLE)]
    before = asked().compare(question)[0]
    for _ in range(2):
        [critique] = asked().critique([(sample("A sack."), LITTLE)])
        assert (critique.critic, critique.verdict, critique.text[:5]) == ("critic", "complies", "+2.00")
    assert sorted(critic.read) == ["A cup."] * 2 + ["A pinch."] * 2 + ["A sack."] * 2, "each once after either half"
    after = asked().compare(question)[0]
    assert (after.logprob_a, after.logprob_b) == (before.logprob_a, before.logprob_b)


class Elsewhere:
    """A backend that tells no log-probabilities of given replies, as endpoints do."""

    name, reads_replies, gives_logprobs = "elsewhere", False, True


@pytest.mark.parametrize(
    ("field", "config"),
    [
        ("feedback.critic.method", FeedbackConfig(critic=CriticConfig(method="contrast"))),
        ("feedback.judge.protocol", FeedbackConfig(judge=JudgeConfig(protocol="contrast"))),
    ],
)
def test_a_model_that_cannot_weigh_replies_is_refused_by_field(
    field: str, config: FeedbackConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(backend: BackendConfig, place: str, policy: LocalModel, model: ModelConfig) -> Elsewhere:
        return Elsewhere()

    monkeypatch.setattr("services.serving.backends._load", found)
    nobody: Any = None
    with pytest.raises(InvalidInput, match="tells no log-probabilities of given replies") as refused:
        load_backends(config, nobody, ModelConfig())
    assert refused.value.field == field
