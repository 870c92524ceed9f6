import numpy as np
import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.feedback.templates import NOTES_FORMAT
from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.corpus import (
    CRITIQUE_REQUESTS,
    HELPFUL_QUESTIONS,
    QUESTIONS_PER_PAIR,
    REVISE_REQUESTS,
    Corpus,
)
from rlhf_core.sandbox.scenarios import UNSEEN
from rlhf_core.sandbox.world import EXPERT, KINDS, load_world

HELDOUT = [task.name for task in load_world().tasks["heldout"]]


def corpus(seed: int = 0) -> Corpus:
    return Corpus(load_world(), np.random.default_rng(seed))


def test_the_same_seed_draws_the_same_documents():
    assert [corpus().criticism() for _ in range(3)] == [corpus().criticism() for _ in range(3)]
    assert corpus(0).judgement() != corpus(1).judgement()


@pytest.mark.parametrize("sort", ["question", "criticism", "judgement", "summing_up"])
def test_heldout_tasks_are_in_no_conversation(sort: str):
    draw = getattr(corpus(), sort)
    text = "\n".join(turn.content for _ in range(1500) for turn in draw().turns)
    assert not [name for name in HELDOUT if name in text]


def test_the_encyclopedia_knows_every_chore():
    draw = corpus()
    text = "\n".join(draw.entry().pieces[0] for _ in range(6000))
    assert all(f"{name}:\n1. " in text or f"{name} are:\n1. " in text for name in load_world().chores)


def test_a_judge_takes_notes_and_is_asked_several_things_about_one_pair():
    draw = corpus()
    for _ in range(50):
        document = draw.judgement()
        _, pair, *questions = [turn.content for turn in document.turns if turn.role == "user"]
        assert pair.endswith(NOTES_FORMAT)
        assert len(questions) == len(document.p_a) == QUESTIONS_PER_PAIR
        assert document.learned == (1, 3, 5, 7, 9, 11)


def test_the_combinations_held_out_are_asked_in_no_conversation():
    draw = corpus()
    asked = {frozenset(draw.draws.kinds()) for _ in range(2000)}
    assert len(UNSEEN) == 8
    assert not asked & UNSEEN
    assert {frozenset([kind]) for kind in KINDS} <= asked


def test_what_the_lines_of_notes_come_to_decides_verdicts_and_letters():
    draw = corpus()
    for _ in range(50):
        document = draw.summing_up()
        *lines, verdicts = document.turns[0].content.split("\n")
        cut = lines.index("B:")
        rows = dict(verdict.split(" ") for verdict in verdicts.removeprefix("Better: ").split(", "))
        for kind in KINDS:
            a, b = (sum(int(line.split()[2]) for line in part if kind in line) for part in (lines[:cut], lines[cut:]))
            assert kind in rows or a == b == 0
            assert rows.get(kind, "even") == ("A" if a < b else "B" if b < a else "even")
        for question, chance in zip(document.turns[1::2], document.p_a, strict=True):
            [kind, *more] = oracle.kinds_named(question.content) or ["helps"]
            better = rows.get(kind, "even")
            assert more or (chance > 0.5, chance < 0.5) == (better == "A", better == "B")


def test_a_question_s_words_bring_the_verdicts_to_mind():
    document = corpus().summing_up()
    rows = document.turns[0].content
    for aside in document.asides:
        question = document.turns[aside.turn].content
        assert question.startswith(aside.read)
        last = aside.read.split()[-1]
        kind = last if last in KINDS else "helps"
        assert f" {kind} {aside.word}" in rows or (aside.word == "even" and f" {kind} " not in rows)
    asked = [kind for turn in document.turns[1::2] for kind in oracle.kinds_named(turn.content) or ("helps",)]
    assert len(document.asides) == len(asked)


def test_a_reply_s_lines_bring_to_mind_what_they_give():
    draw, said = corpus(), set()
    for _ in range(50):
        document = draw.judgement()
        prompt, _, shown = document.turns[:3]
        task = draw.gold.task(Prompt.of(prompt.content))
        known = {EXPERT} | {text for step in task.steps for text in (step.text, step.safer)}
        asides = [aside for aside in document.asides if aside.turn == 2]
        assert len(asides) == sum(line[0].isdigit() for line in shown.content.splitlines() if line)
        for aside in asides:
            assert shown.content.startswith(aside.read)
            line = aside.read.splitlines()[-1].split(". ", 1)[1]
            assert line in known or aside.word == "wrong"
            assert line != EXPERT or aside.word == "0"
            said.add(aside.word)
    assert said == {"0", "2", "3", "4", "6", "9", "wrong"}


def test_a_careful_user_may_want_none_of_each_kind():
    draw = corpus()
    avoided = [draw.draws.avoided() for _ in range(2000)]
    assert not {frozenset(kinds) for kinds in avoided} & UNSEEN
    for kind in KINDS:
        some = [kinds for kinds in avoided if len(kinds) < len(KINDS)]
        assert 0.35 < sum(kind in kinds for kinds in some) / len(some) < 0.65


def test_the_household_constitution_speaks_the_corpus_wordings():
    for principle in load_constitution("household").principles:
        if principle.critique is None:
            assert principle.compare in HELPFUL_QUESTIONS
        else:
            [kind] = oracle.kinds_named(principle.critique)
            assert principle.critique in [request.format(kind) for request in CRITIQUE_REQUESTS]
            assert principle.revise in REVISE_REQUESTS
