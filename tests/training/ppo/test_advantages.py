"""Advantages against the definition, written as the double sum that it is."""

import pytest
import torch

from rlhf_core.training.ppo.advantages import gae


def naive(rewards: list[float], values: list[float], gamma: float, lam: float) -> list[float]:
    count = len(rewards)
    deltas = [rewards[t] + gamma * (values[t + 1] if t + 1 < count else 0.0) - values[t] for t in range(count)]
    return [sum((gamma * lam) ** (later - t) * deltas[later] for later in range(t, count)) for t in range(count)]


def streams(seed: int = 0, batch: int = 3, length: int = 7, count: int = 3):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(batch, length, count, generator=generator, dtype=torch.float64)
    values = torch.randn(batch, length, count, generator=generator, dtype=torch.float64)
    lengths = torch.tensor([length, 1, length - 3])
    mask = (torch.arange(length)[None] < lengths[:, None]).long()
    return rewards, values, mask


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_gae_is_the_naive_double_sum(gamma, lam):
    rewards, values, mask = streams()
    advantages, returns = gae(rewards, values, mask, gamma, lam)
    for b in range(3):
        length = int(mask[b].sum())
        for k in range(3):
            expected = naive(rewards[b, :length, k].tolist(), values[b, :length, k].tolist(), gamma, lam)
            assert advantages[b, :length, k].tolist() == pytest.approx(expected)
    torch.testing.assert_close(returns, advantages + values * mask[..., None])  # the raw advantages, not whitened


def test_lam_1_is_the_return_minus_the_value_and_lam_0_the_td_error():
    rewards = torch.tensor([[[1.0], [2.0], [4.0]]])
    values = torch.tensor([[[0.5], [1.5], [3.0]]])
    mask = torch.ones(1, 3).long()
    assert gae(rewards, values, mask, 1.0, 1.0).advantages.flatten().tolist() == [6.5, 4.5, 1.0]
    assert gae(rewards, values, mask, 1.0, 0.0).advantages.flatten().tolist() == [2.0, 3.5, 1.0]


def test_the_order_of_the_batch_does_not_matter():
    rewards, values, mask = streams()
    order = torch.tensor([2, 0, 1])
    shuffled = gae(rewards[order], values[order], mask[order], 1.0, 0.95).advantages
    torch.testing.assert_close(shuffled, gae(rewards, values, mask, 1.0, 0.95).advantages[order], atol=0, rtol=0)


def test_garbage_after_the_end_changes_nothing():
    rewards, values, mask = streams()
    clean = gae(rewards, values, mask, 1.0, 0.95)
    gone = mask[..., None] == 0
    dirty = gae(rewards.masked_fill(gone, 1e9), values.masked_fill(gone, float("nan")), mask, 1.0, 0.95)
    torch.testing.assert_close(dirty, clean, atol=0, rtol=0)


def test_weighting_streams_before_or_after_is_the_same():
    rewards, values, mask = streams()
    weights = torch.tensor([0.3, 1.7, 1.0], dtype=torch.float64)
    after = gae(rewards, values, mask, 0.97, 0.9).advantages @ weights
    before = gae((rewards @ weights)[..., None], (values @ weights)[..., None], mask, 0.97, 0.9).advantages[..., 0]
    torch.testing.assert_close(after, before, atol=1e-6, rtol=0)
