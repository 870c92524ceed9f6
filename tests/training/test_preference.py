"""Bradley-Terry on soft labels."""

import math

import pytest
import torch

from rlhf_core.training.preference import bootstrap_weights, bradley_terry_loss, preference_accuracy


def one(value: float) -> torch.Tensor:
    return torch.tensor([[value]])


def test_loss_by_hand():
    loss = bradley_terry_loss(one(2.0), one(1.0), torch.tensor([0.75]), one(1.0))
    expected = -0.75 * math.log(1 / (1 + math.exp(-1))) - 0.25 * math.log(1 / (1 + math.exp(1)))
    assert loss.item() == pytest.approx(expected)


def test_a_soft_label_is_fitted_by_its_own_log_odds():
    gap = torch.zeros(1, 1, requires_grad=True)
    optimizer = torch.optim.SGD([gap], lr=4.0)
    for _ in range(300):
        optimizer.zero_grad()
        bradley_terry_loss(gap, torch.zeros(1, 1), torch.tensor([0.8]), one(1.0)).backward()
        optimizer.step()
    assert gap.item() == pytest.approx(math.log(0.8 / 0.2), abs=1e-3)


def test_swapping_a_pair_and_its_label_changes_nothing():
    a, b = torch.randn(5, 2), torch.randn(5, 2)
    probability, weight = torch.rand(5), torch.rand(5, 2)
    swapped = bradley_terry_loss(b, a, 1 - probability, weight, 0.01)
    torch.testing.assert_close(bradley_terry_loss(a, b, probability, weight, 0.01), swapped)


def test_the_centring_penalty_is_on_the_sum_of_the_scores():
    plain = bradley_terry_loss(one(2.0), one(1.0), torch.tensor([1.0]), one(1.0))
    centred = bradley_terry_loss(one(2.0), one(1.0), torch.tensor([1.0]), one(1.0), center_coef=0.01)
    assert (centred - plain).item() == pytest.approx(0.09)


def test_a_pair_of_weight_0_teaches_nothing():
    a = torch.tensor([[1.0], [5.0]], requires_grad=True)
    bradley_terry_loss(a, torch.zeros(2, 1), torch.tensor([0.2, 0.9]), torch.tensor([[1.0], [0.0]]), 0.01).backward()
    assert a.grad is not None and a.grad[0].item() != 0 and a.grad[1].item() == 0


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


def test_a_single_member_sees_every_pair_once():
    drawn = bootstrap_weights(torch.tensor([1.0, 3.0]), 1, torch.Generator())
    assert drawn.flatten().tolist() == [0.5, 1.5]
