"""Generalised advantage estimation over several reward streams at once (Schulman et al. 2016)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Advantages(NamedTuple):
    """advantages and returns, both (B, T, S): one stream per objective and one for the KL penalty; 0 where masked."""

    advantages: Tensor
    returns: Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """A_t = sum_l (gamma lam)^l delta_{t+l}, where delta_t = r_t + gamma V_{t+1} - V_t and V is 0 after the last token.

    rewards, values (B, T, S); mask (B, T). Linear in (rewards, values), so streams may be weighted before or after.
    """
    keep = mask.bool()[..., None]
    rewards, values = rewards.masked_fill(~keep, 0.0), values.masked_fill(~keep, 0.0)
    advantages = torch.zeros_like(values)
    following = torch.zeros_like(values[:, 0])
    next_values = torch.zeros_like(values[:, 0])
    for t in reversed(range(values.shape[1])):
        delta = rewards[:, t] + gamma * next_values - values[:, t]
        following = delta + gamma * lam * following
        advantages[:, t] = following
        next_values = values[:, t]
    return Advantages(advantages, advantages + values)
