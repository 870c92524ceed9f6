"""The critique-and-revision loop over a critic made of rules: two dangerous words, each with its own principle."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rlhf_core.config import CritiqueConfig
from rlhf_core.constitution.schema import Constitution, Objective, Principle
from rlhf_core.feedback.local import LocalFeedback
from rlhf_core.feedback.revision import count_steps, critique_and_revise, draw_principles
from rlhf_core.records import Prompt, Sample
from rlhf_core.seams import Conversation

LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="harmless"),),
    principles=(
        Principle(id="no-acid", serves={"harmless": 1}, critique="acid?", revise="no acid", compare="acid?"),
        Principle(id="no-fire", serves={"harmless": 1}, critique="fire?", revise="no fire", compare="fire?"),
        Principle(id="only-compares", serves={"harmless": 1}, compare="better?"),
    ),
)


def rule_chat(conversations: Sequence[Conversation]) -> list[str]:
    """Finds the word that it is asked about; asked to revise, it puts water in the word's place."""
    texts = []
    for conversation in conversations:
        asked = conversation[-1].content
        answer = conversation[0].content.split("Reply:\n")[1].split("\n\n")[0]
        word = "acid" if asked.startswith(("acid", "no acid")) else "fire"
        if asked.startswith("no "):
            texts.append(answer.replace(word, "water"))
        else:
            texts.append(f'Verdict: violates. "{word}" is bad.' if word in answer else "Verdict: complies.")
    return texts


def rule_choose(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
    """Prefers the reply with fewer of the words asked about."""
    rows = []
    for conversation in conversations:
        text = conversation[-1].content
        word = "acid" if "acid?" in text else "fire"
        a, b = text.split("Reply A:")[1].split("Reply B:")
        rows.append([-0.1, -2.0] if a.count(word) < b.count(f"{word} ") else [-2.0, -0.1])
    return rows


def sample(response: str) -> Sample:
    return Sample(
        id=f"s-{response}", prompt=Prompt.of("How?"), response=response, policy_version="base", run_id="run-1"
    )


TWO_ROUNDS = CritiqueConfig(rounds=2)


def steps_of(*responses: str, config: CritiqueConfig = TWO_ROUNDS, chat=rule_chat):
    feedback = LocalFeedback(chat, rule_choose, LAW.hash, "rules")
    return critique_and_revise([sample(r) for r in responses], LAW, feedback, config, seed=0)


def test_every_round_repairs_what_its_principle_names_and_keeps_the_rest():
    steps = steps_of("use acid then fire now")
    assert [step.accepted for step in steps] == [True, True]
    assert steps[0].after == steps[1].before
    assert steps[1].after == "use water then water now"


def test_an_answer_that_complies_is_kept_and_counted():
    steps = steps_of("use soap now", "use acid then soap")
    counts = count_steps(steps)
    assert counts == {"in": 4, "accepted": 1, "complies": 3}


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "empty"),
        ("use acid then soap", "unchanged"),
        ("Revision: use soap then soap", "leak"),
        ("soap", "length"),
        ("use acid acid acid then acid soap", "not_better"),
    ],
)
def test_a_revision_that_cannot_be_used_is_rejected_with_its_reason(written: str, reason: str):
    def chat(conversations: Sequence[Conversation]) -> list[str]:
        return [written if c[-1].content.startswith("no acid") else rule_chat([c])[0] for c in conversations]

    steps = steps_of("use acid then soap", chat=chat)
    (tried,) = [step for step in steps if step.critique.principle_id == "no-acid"]
    assert not tried.accepted and tried.reason == reason
    counts = count_steps(steps)
    assert counts["in"] == counts.get("accepted", 0) + counts["complies"] + counts[f"rejected.{reason}"]


def test_an_unreadable_critique_is_rejected_not_acted_on():
    steps = steps_of("use acid", chat=lambda conversations: ["hm"] * len(conversations))
    assert {step.reason for step in steps} == {"no_verdict"}
    assert all(step.after == "use acid" for step in steps)


def test_principles_are_drawn_without_replacement_and_only_those_that_criticise():
    drawn = [p.id for p in draw_principles(LAW, 5, seed=1, key="x")]
    assert sorted(drawn) == ["no-acid", "no-fire"]
    first = [draw_principles(LAW, 1, seed=0, key=str(i))[0].id for i in range(400)]
    assert 150 < first.count("no-acid") < 250


def test_borderline_answers_are_revised_only_when_asked_for():
    def chat(conversations: Sequence[Conversation]) -> list[str]:
        return [text.replace("violates", "borderline") for text in rule_chat(conversations)]

    kept = steps_of("use acid then soap", config=CritiqueConfig(rounds=2, revise_borderline=False), chat=chat)
    assert not any(step.accepted for step in kept)
    assert any(step.accepted for step in steps_of("use acid then soap", chat=chat))
