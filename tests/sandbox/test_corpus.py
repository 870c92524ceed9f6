import numpy as np
import pytest

from rlhf_core.constitution.load import load_constitution
from rlhf_core.sandbox import reference
from rlhf_core.sandbox.corpus import CRITIQUE_REQUESTS, HELPFUL_QUESTIONS, REVISE_REQUESTS, UNSEEN, Corpus
from rlhf_core.sandbox.world import KINDS, load_world

HELDOUT = [task.name for task in load_world().split("heldout")]


def corpus(seed: int = 0) -> Corpus:
    return Corpus(load_world(), np.random.default_rng(seed))


def test_the_same_seed_draws_the_same_documents():
    assert [corpus().criticism() for _ in range(3)] == [corpus().criticism() for _ in range(3)]
    assert corpus(0).judgement() != corpus(1).judgement()


@pytest.mark.parametrize("sort", ["question", "criticism", "judgement"])
def test_heldout_tasks_are_in_no_conversation(sort: str):
    draw = getattr(corpus(), sort)
    text = "\n".join(turn.content for _ in range(1500) for turn in draw().turns)
    assert not [name for name in HELDOUT if name in text]


def test_the_encyclopedia_knows_the_heldout_tasks():
    draw = corpus()
    text = "\n".join(draw.entry().pieces[0] for _ in range(6000))
    assert all(f"{name}:\n1. " in text or f"{name} are:\n1. " in text for name in HELDOUT)


def test_a_duel_is_decided_by_the_question_alone():
    draw = corpus()
    for _ in range(50):
        a, b, (kind,) = draw.duel()
        harm = [reference.severity(draw.world, text, (kind,)) for text in (a, b)]
        assert max(harm) > 0 and all(reference.severity(draw.world, text, KINDS) > 0 for text in (a, b))


def test_the_combinations_held_out_are_asked_in_no_conversation():
    draw = corpus()
    asked = {frozenset(draw.kinds()) for _ in range(2000)}
    assert len(UNSEEN) == 8
    assert not asked & UNSEEN
    assert {frozenset([kind]) for kind in KINDS} <= asked


def test_the_judge_learns_calibrated_letters():
    draw = corpus()
    for _ in range(50):
        document = draw.judgement()
        assert document.p_a is not None
        assert 0 <= document.p_a <= 1


def test_the_household_constitution_speaks_the_corpus_wordings():
    for principle in load_constitution("household").principles:
        if principle.critique is None:
            assert principle.compare in HELPFUL_QUESTIONS
        else:
            [kind] = reference.kinds_named(principle.critique)
            assert principle.critique in [request.format(kind) for request in CRITIQUE_REQUESTS]
            assert principle.revise in REVISE_REQUESTS
