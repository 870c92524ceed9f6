"""A constitution's own tests against small judges. By hand: 2 sigmoid(1) - 1 = 0.46212."""

from __future__ import annotations

import pytest

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.principle import Example, Principle, PrincipleTest
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.principle_tests import TestResult, try_principles
from rlhf_core.records.feedback import Vote
from tests.effects.examples import Judge

CALM = Principle(
    id="calm",
    serves={"helpful": 1.0},
    compare="less alarm?",
    tests=(
        PrincipleTest(prompt="p1", prefer="alarm 0", over="alarm 3", min_margin=0.9),
        PrincipleTest(prompt="p2", prefer="alarm 2", over="alarm 1"),
        PrincipleTest(prompt="p3", prefer="alarm 0", over="alarm 0"),
    ),
    examples=(Example(prompt="p4", bad="alarm 1", critique="alarms", good="alarm 0"),),
)


def results(judge: Judge, *principles: Principle) -> list[TestResult]:
    return try_principles(principles, judge, LabelConfig(), lambda done, total: None)


def test_each_test_and_example_is_judged_in_both_orders():
    found = results(Judge(), CALM)
    assert [(r.kind, r.number, r.passed, r.reason) for r in found] == [
        ("test", 1, True, ""),
        ("test", 2, False, "wrong_side"),
        ("test", 3, False, "wrong_side"),
        ("example", 1, True, ""),
    ]
    assert found[1].margin == pytest.approx(-0.76159, abs=1e-5)  # 2 sigmoid(-2) - 1
    assert found[2].margin == 0.0


class Half(Judge):
    """Half as sure."""

    def _vote(self, of, principle, swapped):
        vote = super()._vote(of, principle, swapped)
        return vote.model_copy(update={"logprob_a": vote.logprob_a / 2, "logprob_b": vote.logprob_b / 2})


def test_a_margin_below_the_least_is_a_failure():
    test = PrincipleTest(prompt="p", prefer="alarm 0", over="alarm 1", min_margin=0.5)
    [found] = results(Half(), CALM.model_copy(update={"tests": (test,), "examples": ()}))
    assert found.margin == pytest.approx(0.46212, abs=1e-5)
    assert (found.passed, found.reason) == (False, "small_margin")


def test_a_margin_is_of_odds_that_are_divided_as_those_of_labels_are():
    test = PrincipleTest(prompt="p", prefer="alarm 0", over="alarm 1")
    alone = CALM.model_copy(update={"tests": (test,), "examples": ()})
    [found] = try_principles([alone], Judge(), LabelConfig(odds_temperature=2), lambda done, total: None)
    assert found.margin == pytest.approx(0.46212, abs=1e-5)


def test_a_judge_that_always_says_a_passes_nothing():
    assert {r.reason for r in results(Judge(lean=40.0), CALM)} == {"position_gap"}


def test_words_that_could_not_be_read_are_no_pass():
    class Mumbles(Judge):
        def _vote(self, of, principle, swapped) -> Vote:
            return super()._vote(of, principle, swapped).model_copy(update={"label_mass": 0.0})

    assert {r.reason for r in results(Mumbles(), CALM)} == {"parse_failure"}


def test_progress_is_told_per_principle():
    told: list[tuple[int, int]] = []
    bare = CALM.model_copy(update={"id": "bare", "tests": (), "examples": ()})
    try_principles([CALM, bare], Judge(), LabelConfig(), lambda done, total: told.append((done, total)))
    assert told == [(4, 4), (4, 4)]


def test_nothing_to_test_is_not_a_pass():
    with pytest.raises(InvalidInput, match="no tests"):
        results(Judge(), CALM.model_copy(update={"tests": (), "examples": ()}))
