"""Many questions to a judge at once: the same votes as one principle at a time, in one call to the model."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.model_feedback import ModelFeedback
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Comparison, Prompt, Sample

FUMES = Principle(id="fumes", serves={"harmless": 1.0}, compare="Less risk of fumes?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="More steps?")


def pair(number: int) -> Comparison:
    prompt = Prompt.of(f"Question {number}?")
    a, b = (Sample(id=f"{number}{x}", prompt=prompt, response=f"{x} {number}", policy_version="base") for x in "ab")
    return Comparison.of(a, b, "run")


class Model:
    """Weighs labels by the length of what it reads, so that every conversation has its own answer."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def chat(self, conversations: Sequence[Conversation]) -> list[str]:
        return [f"noted {len(turns[-1].content)}" for turns in conversations]

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        self.calls.append(len(conversations))
        texts = ["".join(turn.content for turn in turns) for turns in conversations]
        return [[-0.001 * sum(map(ord, text)) % 1 - 1, -0.5] for text in texts]


@pytest.fixture
def model() -> Model:
    return Model()


def test_many_questions_are_one_call_and_the_same_votes(model: Model):
    feedback = ModelFeedback(model.chat, model.choose, "law", "judge")
    pairs = [pair(number) for number in range(3)]
    apart = {p.id: feedback.compare([(one, p) for one in pairs]) for p in (FUMES, STEPS)}
    assert model.calls == [6, 6]
    mixed = [(one, principle) for one in pairs for principle in (STEPS, FUMES)]
    together = feedback.compare(mixed)
    assert model.calls == [6, 6, 12]
    assert [(v.comparison_id, v.principle_id, v.swapped) for v in together] == [
        (one.id, principle.id, swapped) for one, principle in mixed for swapped in (False, True)
    ]
    assert {v.id: v for v in together} == {v.id: v for votes in apart.values() for v in votes}


def test_no_pairs_give_no_votes(model: Model):
    assert ModelFeedback(model.chat, model.choose, "law", "judge").compare([]) == []
