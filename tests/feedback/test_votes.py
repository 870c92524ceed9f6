"""Votes become labels. Numbers worked by hand: sigmoid(1) = 0.73106, sigmoid(2) = 0.88080, sigmoid(3) = 0.95257."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.config import LabelConfig
from rlhf_core.constitution.schema import Constitution, Objective, Principle
from rlhf_core.feedback.votes import comparison_of, label, labels_from_votes, sigmoid, tally, vote_id
from rlhf_core.records import Comparison, Prompt, Sample, Vote

FUMES = Principle(id="fumes", serves={"harmless": 1.0}, compare="Which has less risk of fumes?")
BURNS = Principle(id="burns", serves={"harmless": 0.5}, weight=2.0, compare="Which has less risk of burns?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="Which has more steps?")
LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"), Objective(name="harmless")),
    principles=(FUMES, BURNS, STEPS),
)


def pair(a: str = "open a window", b: str = "mix bleach") -> Comparison:
    prompt = Prompt.of("How do I clean?")
    first, second = (Sample(id=text, prompt=prompt, response=text, policy_version="base") for text in (a, b))
    return comparison_of(first, second, "run-1")


def vote(principle: Principle, a: float, b: float, swapped: bool, mass: float = 1.0) -> Vote:
    return Vote(
        id=vote_id(pair(), principle, "judge", swapped),
        comparison_id=pair().id,
        principle_id=principle.id,
        principle_hash=principle.hash,
        template_hash="t",
        constitution_hash=LAW.hash,
        judge="judge",
        swapped=swapped,
        logprob_a=a,
        logprob_b=b,
        label_mass=mass,
    )


def test_log_odds_add_up_over_principles_and_average_over_orders():
    votes = [
        vote(FUMES, -0.5, -2.5, False),  # +2
        vote(FUMES, -1.0, -1.0, True),  # 0
        vote(BURNS, -0.5, -1.5, False),  # +1, times weight 2 x share 0.5
        vote(BURNS, -0.5, -3.5, True),  # +3
        vote(STEPS, -9.0, -1.0, False),  # another objective
    ]
    counted = tally(votes, LAW, "harmless")
    assert counted.probability == pytest.approx(0.95257, abs=1e-5)  # ((2 + 1) + (0 + 3)) / 2 = 3
    assert counted.gap == pytest.approx(0.0, abs=1e-9)
    assert counted.votes == 4


def test_swapping_the_two_answers_maps_p_to_one_minus_p():
    votes = [vote(FUMES, -0.3, -1.3, False), vote(FUMES, -0.2, -2.2, True)]
    mirrored = [v.model_copy(update={"logprob_a": v.logprob_b, "logprob_b": v.logprob_a}) for v in votes]
    assert tally(votes, LAW, "harmless").probability + tally(mirrored, LAW, "harmless").probability == 1.0


def test_a_judge_that_always_says_a_is_an_even_label_and_abstains():
    always_first = [vote(FUMES, -0.01, -5.0, False), vote(FUMES, -5.0, -0.01, True)]
    preference = label(pair(), tally(always_first, LAW, "harmless"), "harmless", "judge", LAW, LabelConfig())
    assert preference.probability == pytest.approx(0.5)
    assert preference.choice == "tie"
    assert preference.abstained and preference.reason == "position_gap"


def test_a_judge_that_spends_its_probability_elsewhere_abstains():
    votes = [vote(FUMES, -4.0, -5.0, swapped, mass=0.03) for swapped in (False, True)]
    preference = label(pair(), tally(votes, LAW, "harmless"), "harmless", "judge", LAW, LabelConfig())
    assert preference.abstained and preference.reason == "label_mass"


def test_no_votes_is_an_abstention_not_a_label():
    (helpful, harmless) = labels_from_votes([pair()], [], LAW, "judge", LabelConfig())
    assert helpful.abstained and harmless.abstained


def test_a_weight_edit_changes_the_label_but_no_vote_key():
    heavier = FUMES.model_copy(update={"weight": 5.0})
    reworded = FUMES.model_copy(update={"compare": "Which has less risk of fumes or burns?"})
    assert vote_id(pair(), FUMES, "j", False) == vote_id(pair(), heavier, "j", False)
    assert vote_id(pair(), FUMES, "j", False) != vote_id(pair(), reworded, "j", False)
    assert vote_id(pair(), FUMES, "j", False) != vote_id(pair(), FUMES, "j", True)


def test_the_same_two_texts_are_the_same_comparison_in_every_run():
    assert pair().id == pair().model_copy(update={"run_id": "another"}).id
    assert pair().id != pair(b="call an expert").id


@given(st.floats(-700, 700))
def test_sigmoid_is_a_probability_and_symmetric(x: float):
    assert 0 <= sigmoid(x) <= 1
    assert sigmoid(x) + sigmoid(-x) == pytest.approx(1)
