"""PPO's losses and rewards, each function by itself, against numbers worked by hand; test_ppo_maths tries steps."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.training.ppo.losses import (
    clipped_policy_loss,
    clipped_value_loss,
    explained_variance,
    kl_estimate,
    masked_mean,
    masked_variance,
    token_rewards,
    whiten,
)

MASK = torch.tensor([[1, 1, 1], [1, 1, 0]])


def test_masked_mean_counts_only_what_the_mask_keeps():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 10.0, float("inf")]])
    assert masked_mean(values, MASK).item() == pytest.approx(20 / 5)


def test_masked_variance_is_the_unbiased_one():
    values = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, float("nan")]])
    assert masked_variance(values, MASK).item() == pytest.approx(2.5)


def test_whitening_gives_mean_0_and_variance_1_over_the_whole_batch_and_ignores_padding():
    values = torch.randn(4, 6, generator=torch.Generator().manual_seed(0)) * 3 + 5
    mask = torch.ones(4, 6).long()
    mask[1, 4:] = 0
    white = whiten(values, mask)
    kept = white[mask.bool()]
    assert kept.mean().abs() < 1e-6 and kept.var().item() == pytest.approx(1, abs=1e-5)
    wide = whiten(torch.cat([values, torch.full((4, 3), 1e6)], 1), torch.cat([mask, torch.zeros(4, 3).long()], 1))
    torch.testing.assert_close(wide[:, :6], white, atol=1e-6, rtol=1e-6)
    assert not wide[:, 6:].any()


def test_whitening_halves_apart_differs_from_whitening_the_batch():  # never per microbatch
    values = torch.tensor([[0.0, 1.0], [10.0, 11.0]])
    mask = torch.ones(2, 2).long()
    whole = whiten(values, mask)
    assert (whole[0] < 0).all() and (whole[1] > 0).all()
    assert not torch.allclose(whole[:1], whiten(values[:1], mask[:1]))


def test_the_score_is_paid_once_on_the_last_real_token():
    mask = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 1], [1, 0, 0, 0]])
    rewards = token_rewards(torch.tensor([2.0, 3.0, 5.0]), mask)
    assert rewards.tolist() == [[0, 0, 2, 0], [0, 0, 0, 3], [5, 0, 0, 0]]


def test_score_and_kl_penalty_add_up_per_sample():
    kl = torch.tensor([[0.5, -0.25, 1.0], [0.125, 0.25, 0.0]])
    rewards = token_rewards(torch.tensor([2.0, -1.0]), MASK) - 0.5 * kl
    assert rewards.sum(1).tolist() == [2.0 - 0.5 * 1.25, -1.0 - 0.5 * 0.375]


def test_equal_policies_have_ratio_1():
    logprobs = torch.randn(2, 3)
    loss = clipped_policy_loss(logprobs, logprobs, torch.tensor([[1.0, 2, 3], [4, 5, 6]]), MASK, 0.2)
    assert loss.loss.item() == pytest.approx(-3.0) and loss.approx_kl.item() == 0 and loss.clip_fraction.item() == 0


def test_nothing_past_the_end_changes_losses_or_gradients():
    def run(garbage: float) -> tuple[float, float, torch.Tensor, torch.Tensor]:
        new = torch.tensor([[-1.0, -2.0, -0.5], [-1.5, -0.3, garbage]], requires_grad=True)
        old = torch.tensor([[-1.1, -1.9, -0.5], [-1.4, -0.4, -3 * garbage]])
        advantages = torch.tensor([[1.0, -1.0, 0.5], [2.0, -0.5, garbage]])
        policy = clipped_policy_loss(new, old, advantages, MASK, 0.2)
        values = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, garbage]], requires_grad=True)
        value = clipped_value_loss(values, old.detach() * 0.1, advantages, MASK, 0.2)
        (policy.loss + value).backward()
        assert new.grad is not None and values.grad is not None
        return policy.loss.item(), value.item(), new.grad, values.grad

    clean, dirty = run(-1.0), run(1e4)
    assert clean[:2] == dirty[:2]
    torch.testing.assert_close(clean[2:], dirty[2:], atol=0, rtol=0)


@given(st.floats(-8, 8), st.floats(-8, 8))
@settings(max_examples=50, deadline=None)
def test_k2_and_k3_are_never_negative(a, b):
    pair = torch.tensor([a, b], dtype=torch.float64)
    assert kl_estimate(pair[0], pair[1], "k3").item() >= -1e-12
    assert kl_estimate(pair[0], pair[1], "k2").item() == pytest.approx((a - b) ** 2 / 2)


def test_explained_variance_by_hand_and_nothing_is_said_of_returns_that_do_not_vary():
    """Returns 1, 3 vary by 2; what is left of them, 1 and 2, varies by 1/2: three quarters are explained."""
    mask = torch.tensor([[1, 1, 0]])
    values, returns = torch.tensor([[0.0, 1.0, 9.0]]), torch.tensor([[1.0, 3.0, torch.nan]])
    assert explained_variance(values, returns, mask) == pytest.approx(0.75)
    assert explained_variance(values, torch.full((1, 3), 2.0), mask) is None
