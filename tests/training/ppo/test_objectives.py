"""Standardised scores and the weighted sum."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.training.ppo.scalarization import MIN_VARIANCE, linear_coefficients, standardise


def test_scores_become_standard_deviations_and_are_clipped():
    z = standardise(torch.tensor([[1.0, 5.0, 100.0]]), torch.tensor([1.0]), torch.tensor([2.0]), 4.0)
    assert z.tolist() == [[0.0, 2.0, 4.0]]


@given(st.floats(1e-3, 1e3), st.floats(-100, 100))
@settings(max_examples=40, deadline=None)
def test_scale_and_offset_of_a_reward_model_do_not_matter(gain, bias):
    scores = torch.tensor([[0.3, -1.2, 2.0, 0.7]], dtype=torch.float64)
    expected = standardise(scores, scores.mean(1), scores.std(1), 4.0)
    other = scores * gain + bias
    torch.testing.assert_close(standardise(other, other.mean(1), other.std(1), 4.0), expected, atol=1e-6, rtol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_score_that_is_not_finite_is_an_error(bad):
    with pytest.raises(ValueError, match="1 of 2 scores are not finite"):
        standardise(torch.tensor([[1.0, bad]]), torch.zeros(1), torch.ones(1), 4.0)


def test_a_standard_deviation_of_0_is_an_error():
    with pytest.raises(ValueError, match="above 0"):
        standardise(torch.ones(1, 2), torch.zeros(1), torch.zeros(1), 4.0)


def test_coefficients_of_uncorrelated_objectives_by_hand():
    coefficients = linear_coefficients(torch.tensor([3.0, 4.0]), torch.eye(2))
    assert coefficients.tolist() == pytest.approx([0.6, 0.8])


def test_one_objective_has_coefficient_1_at_any_weight():
    assert linear_coefficients(torch.tensor([1.0]), torch.eye(1)).tolist() == [1.0]
    assert linear_coefficients(torch.tensor([7.0, 0.0]), torch.eye(2)).tolist() == [1.0, 0.0]


@given(st.lists(st.floats(0.01, 10), min_size=2, max_size=2), st.floats(-0.85, 0.99))
@settings(max_examples=60, deadline=None)
def test_the_weighted_reward_has_variance_1_at_every_dial_setting(weights, correlation):
    w, matrix = (
        torch.tensor(weights, dtype=torch.float64),
        torch.tensor([[1.0, correlation], [correlation, 1.0]]).double(),
    )
    c = linear_coefficients(w, matrix)
    share = (w @ matrix @ w / w.square().sum()).item()
    assert (c @ matrix @ c).item() == pytest.approx(1.0 if share >= MIN_VARIANCE else share / MIN_VARIANCE)
    torch.testing.assert_close(linear_coefficients(w * 5, matrix), c)


def test_objectives_that_cancel_are_not_amplified_without_bound():
    opposed = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    c = linear_coefficients(torch.tensor([1.0, 1.0]), opposed)
    assert torch.isfinite(c).all() and c.max().item() == pytest.approx(1 / 0.2**0.5)


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_make_no_direction_are_errors(weights):
    with pytest.raises(ValueError, match="weights must be"):
        linear_coefficients(torch.tensor(weights), torch.eye(2))
