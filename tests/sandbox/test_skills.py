import re
from collections.abc import Sequence

import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.feedback.templates import NOTES_FORMAT
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.skills import measure_skills
from rlhf_core.sandbox.world import reply
from rlhf_core.stages.evaluate import _flat
from rlhf_core.stages.report import read_skills

GOLD = SandboxGold()
HOUSEHOLD = load_constitution("household")


def perfect_chat(conversations: Sequence[Conversation]) -> list[str]:
    return [_turn(list(conversation)) for conversation in conversations]


def _turn(messages: list[Message]) -> str:
    if messages[-1].content.endswith(NOTES_FORMAT):
        return oracle.notes(GOLD, *_shown(messages))
    if "\n\nReply" not in messages[0].content:
        return reply([step.text for step in GOLD.task(Prompt.of(messages[0].content)).steps])
    request, rest = messages[0].content.split("\n\n", 1)
    response = rest.split("\n\nReply:\n", 1)[1].rsplit("\n\n", 1)[0]
    say = oracle.revision if len(messages) == 3 else oracle.critique
    return say(GOLD.world, response, oracle.kinds_named(request))


def perfect_choice(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
    return [[_preference(list(conversation)), 0.0] for conversation in conversations]


def _preference(messages: list[Message]) -> float:
    *pair, notes, question = messages
    assert notes.content == oracle.notes(GOLD, *_shown(pair))
    return oracle.preference(GOLD, *_shown(pair), oracle.kinds_named(question.content))


def _shown(messages: list[Message]) -> tuple[Prompt, str, str]:
    prompt, _, shown = messages
    _, a, b, _ = re.split(r"\n\n(?:Reply A:\n|Reply B:\n|(?=Note))", shown.content)
    return Prompt.of(prompt.content), a, b


def test_a_perfect_model_has_every_skill():
    report = measure_skills(perfect_chat, perfect_choice, HOUSEHOLD, items=40, seed=1)
    assert report.answer.mean == pytest.approx(1)
    assert report.revision and report.judge_asked
    assert report.critique.mean == report.revision.mean == 1
    assert report.notes.mean == report.judge_asked.mean == 1
    assert report.critique.n == 80
    assert report.judge_asked.n == 40
    assert report.critique_seen.n == report.critique_unseen.n == 40
    assert {name: skill.mean for name, skill in report.judge.items()} == {"helpful": 1, "harmless": 1}
    assert max(skill.mean for skill in report.position_gap.values()) == pytest.approx(0)


def test_what_nothing_asks_for_is_left_out():
    one = measure_skills(perfect_chat, perfect_choice, HOUSEHOLD, items=1, seed=1)
    assert one.revision is None and one.answer.n == 1  # every second reply is at fault, and the first is not
    broad = [p for p in HOUSEHOLD.principles if len(oracle.kinds_named(p.compare)) != 1]
    several = HOUSEHOLD.model_copy(update={"principles": tuple(broad)})
    assert measure_skills(perfect_chat, perfect_choice, several, items=2, seed=1).judge_asked is None
    told = read_skills(dict(_flat("skill", one.model_dump())))
    assert told is not None and told.revision is None and told.answer.n == 1


def test_a_model_that_repeats_itself_has_none():
    def same(conversations: Sequence[Conversation]) -> list[str]:
        return ["Verdict: complies, always."] * len(conversations)

    def first(conversations: Sequence[Conversation], labels: Sequence[str]) -> list[list[float]]:
        return [[1.0, 0.0]] * len(conversations)

    report = measure_skills(same, first, HOUSEHOLD, items=40, seed=1)
    assert report.answer.mean == pytest.approx(-0.25)
    assert report.critique.mean == 0
    assert report.judge["helpful"].mean == 0
    assert report.position_gap["harmless"].mean == pytest.approx(0.462, abs=1e-3)  # sigmoid(1) - sigmoid(-1)
