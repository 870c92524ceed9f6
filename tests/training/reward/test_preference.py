"""The losses of labels: numbers by hand, and what must hold for any scores."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.training.reward.losses import (
    bootstrap_weights,
    bradley_terry,
    davidson,
    plackett_luce,
    preference_accuracy,
    squared_error,
    step_cross_entropy,
    tie_odds,
)

SCORES = st.lists(st.floats(-20, 20), min_size=3, max_size=3)


def one(value: float) -> torch.Tensor:
    return torch.tensor([[value]])


def test_the_loss_of_a_soft_label_is_the_one_worked_by_hand():
    loss = bradley_terry(one(2.0), one(1.0), torch.tensor([0.75]))
    expected = -0.75 * math.log(1 / (1 + math.exp(-1))) - 0.25 * math.log(1 / (1 + math.exp(1)))
    assert loss.item() == pytest.approx(expected)


def test_a_soft_label_is_fitted_by_its_own_log_odds():
    gap = torch.zeros(1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([gap], lr=4.0)
    for _ in range(300):
        optimizer.zero_grad()
        bradley_terry(gap, torch.zeros(1, 1), torch.tensor([0.8])).sum().backward()
        optimizer.step()
    assert gap.item() == pytest.approx(math.log(0.8 / 0.2), abs=1e-3)


def test_swapping_a_pair_and_its_label_changes_nothing():
    a, b = torch.randn(5, 2), torch.randn(5, 2)
    probability, margin, tie, nu = torch.rand(5), torch.rand(5), torch.rand(5), torch.randn(2)
    torch.testing.assert_close(bradley_terry(a, b, probability, margin), bradley_terry(b, a, 1 - probability, margin))
    swapped = davidson(b, a, 1 - probability, tie, nu, margin)
    torch.testing.assert_close(davidson(a, b, probability, tie, nu, margin), swapped)


def test_a_margin_is_how_far_the_better_reply_has_to_lead():
    by_hand = math.log1p(math.exp(-(1.0 - 0.4)))
    assert bradley_terry(one(2.0), one(1.0), torch.tensor([1.0]), torch.tensor([0.4])).item() == pytest.approx(by_hand)
    assert bradley_terry(one(1.0), one(2.0), torch.tensor([0.0]), torch.tensor([0.4])).item() == pytest.approx(by_hand)


def test_davidson_by_hand():
    """Scores ln 4 and 0 and v = 2: odds 2 : 1/2 : 2, so 4/9 for a, 1/9 for b, 4/9 for a tie."""
    a, b, nu = one(math.log(4)), one(0.0), torch.tensor([math.log(2)])

    def loss(probability: float, tie: float) -> float:
        return davidson(a, b, torch.tensor([probability]), torch.tensor([tie]), nu).item()

    assert loss(1.0, 0.0) == pytest.approx(-math.log(4 / 9))
    assert loss(0.0, 0.0) == pytest.approx(-math.log(1 / 9))
    assert loss(0.5, 1.0) == pytest.approx(-math.log(4 / 9))


def test_ties_begin_as_likely_as_the_labels_make_them():
    """2.5 of 5: a tie is as likely as both others together, so v is 2 beside 1 and 1."""
    assert tie_odds(2, 4) == 2
    never = torch.tensor([math.log(tie_odds(0, 99))])
    tied = davidson(one(0.0), one(0.0), torch.tensor([0.5]), torch.tensor([1.0]), never)
    assert math.exp(-tied.item()) == pytest.approx(0.005, abs=1e-6), "half a tie in 100"


def test_davidson_where_ties_are_impossible_is_bradley_terry():
    a, b, p = torch.randn(6, 3), torch.randn(6, 3), torch.rand(6)
    never = davidson(a, b, p, torch.zeros(6), torch.full((3,), -40.0))
    torch.testing.assert_close(never, bradley_terry(a, b, p))


def test_plackett_luce_by_hand():
    """Draw 3 of (3, 2, 1), then 2 of (2, 1): 3/6 times 2/3 is a third."""
    scores = torch.tensor([[1.0, 3.0, 2.0]]).log()[..., None]
    assert plackett_luce(scores, torch.tensor([[3.0, 1.0, 2.0]])).item() == pytest.approx(math.log(3))


def test_a_ranking_of_two_is_a_pair_and_padding_counts_nowhere():
    scores = torch.tensor([[[0.3], [1.1], [55.0]]])
    ranks = torch.tensor([[2.0, 1.0, torch.inf]])
    pair = bradley_terry(one(1.1), one(0.3), torch.tensor([1.0]))
    torch.testing.assert_close(plackett_luce(scores, ranks), pair)


def test_tied_ranks_are_drawn_from_one_set():
    """Weights 1, 1, 2 with the first two tied at the end: 2/4, then twice 1/2."""
    scores = torch.tensor([[1.0, 1.0, 2.0]]).log()[..., None]
    assert plackett_luce(scores, torch.tensor([[2.0, 2.0, 1.0]])).item() == pytest.approx(math.log(8))


@given(SCORES)
def test_the_chances_of_all_rankings_add_up_to_one(values):
    from itertools import permutations

    scores = torch.tensor([values], dtype=torch.float64)[..., None]
    chances = [math.exp(-plackett_luce(scores, torch.tensor([ranks])).item()) for ranks in permutations((1.0, 2, 3))]
    assert sum(chances) == pytest.approx(1)


def test_gradients_stay_finite_where_replies_are_padding():
    scores = torch.randn(2, 3, 2, requires_grad=True)
    plackett_luce(scores, torch.tensor([[1.0, 2.0, torch.inf], [2.0, 1.0, 3.0]])).sum().backward()
    assert scores.grad is not None and scores.grad.isfinite().all() and not scores.grad[0, 2].any()


def test_ratings_and_steps_by_hand():
    assert squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([2.5])).tolist() == [[2.25, 0.25]]
    steps = torch.tensor([[0.0, math.log(3)], [0.0, math.log(3)]])
    by_hand = [math.log(2), (-math.log(0.75) - math.log(0.25)) / 2]
    torch.testing.assert_close(step_cross_entropy(steps, torch.tensor([1.0, 0.0])), torch.tensor([by_hand]))


def test_accuracy_counts_equal_scores_as_half_and_leaves_undecided_pairs_out():
    a, b = torch.tensor([2.0, 0.0, 1.0, 9.0]), torch.tensor([1.0, 3.0, 1.0, 0.0])
    assert preference_accuracy(a, b, torch.tensor([0.9, 0.6, 0.1, 0.5])) == (0.5, 3)
    assert preference_accuracy(a, b, torch.full((4,), 0.5)) == (0.5, 0)


def test_bootstraps_differ_by_member_and_keep_the_mean_weight():
    weights = torch.tensor([1.0] * 90 + [3.0] * 10)
    drawn = bootstrap_weights(weights, 3, torch.Generator().manual_seed(0))
    assert drawn.shape == (100, 3) and drawn.mean().item() == pytest.approx(1)
    assert not torch.equal(drawn[:, 0], drawn[:, 1]) and (drawn == 0).float().mean().item() == pytest.approx(
        0.37, abs=0.1
    )


def test_labels_of_weight_0_are_never_drawn_so_that_something_is_learned():
    weights = torch.tensor([0.0] * 60 + [2.0])
    for seed in range(8):
        drawn = bootstrap_weights(weights, 2, torch.Generator().manual_seed(seed))
        assert drawn.isfinite().all() and drawn[-1].tolist() == pytest.approx([61.0] * 2) and not drawn[:-1].any()


def test_a_single_member_sees_every_pair_once():
    drawn = bootstrap_weights(torch.tensor([1.0, 3.0]), 1, torch.Generator())
    assert drawn.flatten().tolist() == [0.5, 1.5]
