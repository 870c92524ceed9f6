import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.pareto import (
    answer_scores,
    best_answers,
    dial_correlation,
    direction,
    hypervolume,
    non_dominated,
    oracle_front,
    weight_grid,
)
from rlhf_core.records.samples import Prompt

NAMES = ("helpful", "harmless")
UNIT = {"helpful": 1.0, "harmless": 1.0}


class TwoAnswers:
    objectives = NAMES

    def score(self, prompt, response):
        return {"helpful": 0.0, "harmless": 0.0}

    def harm_by_kind(self, prompt, response):
        return {}

    def answers(self, prompt):
        return [{"helpful": 1.0, "harmless": -1.0}, {"helpful": 0.0, "harmless": 0.0}]


def test_answers_come_as_one_table_per_prompt():
    tables = answer_scores(TwoAnswers(), [Prompt.of("one"), Prompt.of("two")])
    assert [table.tolist() for table in tables] == [[[1, -1], [0, 0]]] * 2


def test_weights_are_divided_by_sd_and_by_their_sum():
    assert direction({"helpful": 3, "harmless": 1}, {"helpful": 2, "harmless": 0.5}, NAMES).tolist() == [0.375, 0.5]


def test_an_objective_without_weight_needs_no_scale():
    assert direction({"helpful": 2}, {"helpful": 4, "harmless": 0}, NAMES).tolist() == [0.25, 0]


@pytest.mark.parametrize("weights", [{"honest": 1.0}, {"helpful": -1.0}, {"helpful": 0.0}, {"helpful": float("nan")}])
def test_bad_weights_are_refused(weights):
    with pytest.raises(InvalidInput, match="weights"):
        direction(weights, UNIT, NAMES)


def test_a_gold_score_that_never_varies_has_no_unit():
    with pytest.raises(InvalidInput, match="harmless"):
        direction({"harmless": 1}, {"helpful": 1, "harmless": 0}, NAMES)


def test_the_best_answer_follows_the_weights():
    answers = [np.array([[1.0, -1.0], [0.5, -0.2], [0.0, 0.0]])]
    assert best_answers(answers, np.array([0.9, 0.1])).tolist() == [[1, -1]]
    assert best_answers(answers, np.array([0.5, 0.5])).tolist() == [[0.5, -0.2]]


def test_a_tie_goes_to_the_answer_that_is_better_elsewhere():
    answers = [np.array([[0.0, 0.0], [0.4, 0.0], [1.0, -1.0]])]
    assert best_answers(answers, np.array([0.0, 1.0])).tolist() == [[0.4, 0]]


def test_the_grid_covers_the_simplex():
    assert weight_grid(2).shape == (41, 2)
    assert weight_grid(3).shape == (66, 3)
    assert weight_grid(3).sum(axis=1) == pytest.approx(np.ones(66))


def test_the_front_of_one_prompt_is_its_hull():
    answers = [np.array([[1.0, -1.0], [0.7, -0.2], [0.3, -0.19], [0.0, 0.0]])]
    front = oracle_front(answers, NAMES, UNIT)
    assert sorted((point.gold["helpful"], point.gold["harmless"]) for point in front) == [(0, 0), (0.7, -0.2), (1, -1)]


def test_domination_needs_to_be_better_somewhere():
    assert non_dominated([[1, 0], [0, 1], [0, 0], [1, 0]]).tolist() == [True, True, False, True]


def test_hypervolume_by_hand():
    # Boxes above (0, 0): 3*1 + 2*(2-1) + 1*(3-2) = 6; (1, 1) is dominated and (-1, 9) is outside.
    assert hypervolume([[1, 3], [3, 1], [2, 2], [1, 1], [-1, 9]], (0, 0)) == 6
    assert hypervolume([[1, 1]], (2, 2)) == 0


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=12))
def test_hypervolume_counts_unit_squares(points):
    squares = sum(any(x > i and y > j for x, y in points) for i in range(6) for j in range(6))
    assert hypervolume(points, (0, 0)) == squares


def test_a_dial_that_turns_one_way_has_correlation_one():
    weights = [{"helpful": 3.0, "harmless": 1.0}, {"helpful": 1.0, "harmless": 1.0}, {"helpful": 2.0, "harmless": 6.0}]
    scores = [{"helpful": 0.9, "harmless": -2.0}, {"helpful": 0.8, "harmless": -1.0}, {"helpful": 0.1, "harmless": 0.0}]
    assert dial_correlation(weights, scores) == pytest.approx({"helpful": 1, "harmless": 1})
