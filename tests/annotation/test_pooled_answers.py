"""One label of what several people say, by the rule that the docs state."""

from __future__ import annotations

import pytest

from rlhf_core.annotation.pooled_answers import crowd_of, soft_labels
from tests.annotation.crowds import said


def test_one_person_s_answer_is_the_label():
    answers = [said("p", "ada", "a"), said("q", "ada", "b"), said("r", "ada", "both_bad"), said("s", "ada", "skip")]
    found = {label.comparison_id: label for label in soft_labels(crowd_of(answers, {}))}
    assert {pair: (label.probability, label.tied) for pair, label in found.items()} == {
        "p": (1.0, False),
        "q": (0.0, False),
        "r": (0.5, True),
    }


def test_two_equally_skilled_people_who_contradict_each_other_make_an_even_label_that_is_no_tie():
    (label,) = soft_labels(crowd_of([said("p", "ada", "a"), said("p", "bo", "b")], {}))
    assert label.probability == pytest.approx(0.5) and not label.tied and label.people == 2


def test_the_skilled_count_for_more_than_the_others():
    """Bo is wrong on whatever a reviewer decided, ada is right; cy agrees with either once."""
    known = {f"k{number}": "a" for number in range(8)}
    answers = [said(pair, who, choice) for pair in known for who, choice in (("ada", "a"), ("bo", "b"))]
    answers += [said("p", "ada", "a"), said("p", "bo", "b"), said("q", "cy", "b"), said("q", "bo", "b")]
    answers += [said("r", "cy", "b"), said("r", "ada", "b")]
    found = {label.comparison_id: label.probability for label in soft_labels(crowd_of(answers, known))}
    assert found["p"] > 0.9 and found["k1"] == 1.0
    assert found["q"] > 0.1 > 0.05 > found["r"]


def test_what_was_decided_stands_and_what_was_set_aside_is_no_label():
    answers = [said(pair, who, "a") for pair in ("p", "q", "r") for who in ("ada", "bo")]
    found = {x.comparison_id: x for x in soft_labels(crowd_of(answers, {"p": "b", "q": "tie", "r": "skip"}))}
    assert (found["p"].probability, found["q"].probability, found["q"].tied) == (0.0, 0.5, True)
    assert found.keys() == {"p", "q"}


def test_second_answers_count_for_nothing_and_weights_are_averaged():
    answers = [said("p", "ada", "a", weight=0.5), said("p", "bo", "a"), said("p", "ada", "b", repeated=True)]
    (label,) = soft_labels(crowd_of(answers, {}))
    assert label.weight == 0.75 and label.people == 2 and label.probability > 0.9
    assert soft_labels(crowd_of([], {"p": "a"})) == []
