"""Reward models against held-out labels, by hand."""

import math

import pytest

from rlhf_core.data.reward_examples import LabelledPair, Rating, StepLabels
from rlhf_core.evaluation.reward_quality import JudgedPair, JudgedRating, JudgedSteps, measure_quality
from rlhf_core.records.samples import Prompt

PROMPT = Prompt.of("Q?")
LOG3 = math.log(3)
"""The log-odds of 0.75."""


def pair(
    probability: float, logit: float, source="ai", a: str = "one", b: str = "one two", prompt: str = ""
) -> JudgedPair:
    """Of a prompt of its own, unless it is given."""
    asked = Prompt.of(prompt or f"{probability} or {logit}?")
    return JudgedPair(LabelledPair(asked, a, b, probability, source=source), logit, logit)


def test_accuracy_counts_decided_pairs_and_equal_scores_as_half():
    (every,) = measure_quality([pair(0.9, 1.0), pair(0.2, 1.0), pair(1.0, 0.0), pair(0.5, 9.0)])
    assert (every.source, every.pairs, every.accuracy) == ("all", 3, 0.5)
    assert every.accuracy_low is not None and every.accuracy_high is not None
    assert 0.1 < every.accuracy_low < 0.5 < every.accuracy_high < 0.9
    assert every.longer_reply == pytest.approx(1 / 3), "b is the longer one, and is better once"


def test_pairs_of_one_prompt_tell_less_than_as_many_of_their_own():
    """Two prompts of four alike pairs each: 4 of 8 right, and no more than about two things were seen."""
    apart = [pair(1.0, 0.1 * sign * n) for n in range(1, 5) for sign in (1, -1)]
    together = [
        pair(1.0, 0.1 * sign * n, prompt=name) for n in range(1, 5) for sign, name in ((1, "easy"), (-1, "hard"))
    ]
    (alone,), (joined,) = measure_quality(apart), measure_quality(together)
    assert alone.accuracy == joined.accuracy == 0.5
    # Wilson (1927) of 4 of 8 by hand: 0.5 -+ 1.96 sqrt(0.03125 + 1.96^2 / 256) / (1 + 1.96^2 / 8).
    assert (alone.accuracy_low, alone.accuracy_high) == pytest.approx((0.2152, 0.7848), abs=1e-4)
    assert joined.accuracy_low < 0.1 and joined.accuracy_high > 0.9


def test_brier_and_calibration_error_by_hand():
    """Both say 0.75; one is right and one wrong, so 0.5 are right where 0.75 were expected."""
    (every,) = measure_quality([pair(1.0, LOG3), pair(1.0, -LOG3)])
    assert every.brier == pytest.approx((0.25**2 + 0.75**2) / 2)
    assert every.ece == pytest.approx(0.25)


def test_soft_labels_that_the_model_gives_back_have_no_error():
    (every,) = measure_quality([pair(0.75, LOG3), pair(0.25, -LOG3)])
    assert every.brier == pytest.approx(0) and every.ece == pytest.approx(0)


def test_swapping_pairs_changes_nothing():
    there = [pair(0.9, 0.4, a="a b c", b="d"), pair(0.3, 1.2), pair(1.0, -0.1)]
    back = [
        JudgedPair(one.label._replace(a=one.label.b, b=one.label.a, probability=1 - one.label.probability), -m, -m)
        for one, m in ((one, one.margin) for one in there)
    ]
    (left,), (right,) = measure_quality(there), measure_quality(back)
    assert left.model_dump() == pytest.approx(right.model_dump())


def test_a_score_that_is_the_length_correlates_with_it_fully():
    (every,) = measure_quality([pair(1.0, -1.0), pair(1.0, 2.0, a="a b c", b="d")])
    assert every.length_correlation == pytest.approx(1)


def test_each_source_is_measured_by_itself():
    every, ai, human = measure_quality([pair(1.0, 1.0), pair(1.0, 1.0), pair(1.0, -1.0, "human")])
    assert [one.source for one in (every, ai, human)] == ["all", "ai", "human"]
    assert (every.accuracy, ai.accuracy, human.accuracy) == (pytest.approx(2 / 3), 1.0, 0.0)


def test_ratings_are_correlated_and_steps_counted_where_they_were_read():
    judged = [
        *(JudgedRating(Rating(PROMPT, "x", rating), score) for rating, score in ((1, 0.1), (2, 5.0), (9, 6.0))),
        JudgedSteps(StepLabels(PROMPT, ("a", "b", "c"), (1.0, 1.0, 0.0)), (1.0, 1.0)),
    ]
    (every,) = measure_quality(judged)
    assert (every.ratings, every.rating_correlation) == (3, pytest.approx(1))
    assert (every.steps, every.step_accuracy) == (2, 0.5), "the first step was cut off"
    assert every.pairs == 0 and every.accuracy is None and every.brier is None


def test_without_labels_there_is_nothing_to_say():
    assert measure_quality([]) == ()
