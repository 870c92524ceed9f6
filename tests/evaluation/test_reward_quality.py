"""Reward models against held-out labels, by hand."""

import math

import pytest

from rlhf_core.evaluation.reward_quality import JudgedPair, JudgedRating, JudgedSteps, measure_quality
from rlhf_core.labels import LabelledPair, Rating, StepLabels
from rlhf_core.records import Prompt

PROMPT = Prompt.of("Q?")
LOG3 = math.log(3)
"""The log-odds of 0.75."""


def pair(probability: float, logit: float, source="ai", a: str = "one", b: str = "one two") -> JudgedPair:
    return JudgedPair(LabelledPair(PROMPT, a, b, probability, source=source), logit, logit)


def test_accuracy_counts_decided_pairs_and_equal_scores_as_half():
    (every,) = measure_quality([pair(0.9, 1.0), pair(0.2, 1.0), pair(1.0, 0.0), pair(0.5, 9.0)])
    assert (every.source, every.pairs, every.accuracy) == ("all", 3, 0.5)
    assert every.accuracy_low is not None and every.accuracy_high is not None
    assert 0.1 < every.accuracy_low < 0.5 < every.accuracy_high < 0.9
    assert every.longer_reply == pytest.approx(1 / 3), "b is the longer one, and is better once"


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


def test_ratings_and_steps():
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
