"""Who is flagged, after how many answers, and how seldom somebody good is."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_core.annotation.dawid_skene import EVEN, A, B
from rlhf_core.annotation.flags import LEFT, NEITHER, RIGHT, STAKES, judge_annotator

GOOD, FALSE_ALARM = 0.8, 0.05
SURE_OF_A = [1.0, 0.0, 0.0]
NOBODY_KNOWS = [1 / 3] * 3


def test_three_wrong_answers_in_a_row_by_hand():
    """Against a good one's 0.1 of each wrong answer stand 0.48 of the contrary, 0.34 of the random and 0.233 of the
    careless: 0.2 * 4.8**3 + 0.2 * 3.4**3 + 0.5 * 2.333**3 + 0.1, which is above 20; after two it is 9.7."""
    assert sum(STAKES.values()) == pytest.approx(1)
    flag = judge_annotator([SURE_OF_A] * 3, [B] * 3, [NEITHER] * 3, GOOD, FALSE_ALARM)
    assert (flag.kind, flag.after) == ("contrary", 3)
    assert flag.evidence == pytest.approx(0.2 * 4.8**3 + 0.2 * 3.4**3 + 0.5 * (7 / 3) ** 3 + 0.1)
    two = judge_annotator([SURE_OF_A] * 2, [B] * 2, [NEITHER] * 2, GOOD, FALSE_ALARM)
    assert (two.kind, two.after) == (None, 0)
    assert two.evidence == pytest.approx(9.7, abs=0.05)


def test_answers_on_which_nobody_knows_the_truth_say_nothing():
    said, sides = [A, B, EVEN] * 20, [LEFT, RIGHT, NEITHER] * 20
    flag = judge_annotator([NOBODY_KNOWS] * 60, said, [NEITHER] * 60, GOOD, FALSE_ALARM)
    assert flag.kind is None and flag.evidence == pytest.approx(1)
    assert judge_annotator([NOBODY_KNOWS] * 60, said, sides, GOOD, FALSE_ALARM).kind is None
    assert judge_annotator([], [], [], GOOD, FALSE_ALARM).evidence == 0


@pytest.mark.parametrize(("side", "kind"), [(LEFT, "left"), (RIGHT, "right")])
def test_always_the_same_side_is_found_without_any_truth(side: int, kind: str):
    """0.05 * 1.7**n is above 19.1, which the others add up to 20, from n = 12 on."""
    flag = judge_annotator([NOBODY_KNOWS] * 40, [A] * 40, [side] * 40, GOOD, FALSE_ALARM)
    assert (flag.kind, flag.after) == (kind, 12)


def test_a_flag_stays_whatever_comes_after_it():
    said = [B] * 3 + [A] * 200
    flag = judge_annotator([SURE_OF_A] * 203, said, [NEITHER] * 203, GOOD, FALSE_ALARM)
    assert (flag.kind, flag.after) == ("contrary", 3)


def test_the_way_of_failing_is_told_by_the_strongest_evidence_and_not_by_the_first():
    """Two of five first answers are right, as a guess would have it; then none is."""
    said = [A, B, A, B, B] + [B] * 15
    flag = judge_annotator([SURE_OF_A] * 20, said, [NEITHER] * 20, GOOD, FALSE_ALARM)
    assert flag.kind == "contrary" and flag.after == 7
    assert judge_annotator([SURE_OF_A] * 7, said[:7], [NEITHER] * 7, GOOD, FALSE_ALARM).kind == "careless"


def test_somebody_just_good_enough_is_flagged_no_more_often_than_promised_and_somebody_worse_is():
    rng = np.random.default_rng(3)

    def flagged(right: float, people: int = 600, answers: int = 200) -> float:
        found = 0
        for _ in range(people):
            said = np.where(rng.random(answers) < right, A, rng.choice([EVEN, B], size=answers))
            sides = np.where(said == EVEN, NEITHER, rng.choice([LEFT, RIGHT], size=answers))
            found += judge_annotator([SURE_OF_A] * answers, said.tolist(), sides.tolist(), GOOD, FALSE_ALARM).after > 0
        return found / people

    assert 0 < flagged(GOOD) <= FALSE_ALARM
    assert flagged(0.9) < flagged(GOOD)
    assert flagged(0.5, people=100) > 0.95
