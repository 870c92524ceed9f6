"""Advantages of several reward streams at once: with a critic (GAE), or against other responses to the same prompt."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

GRPO_EPS = 1e-4
"""Added to a group's standard deviation (Shao et al. 2024)."""


class Advantages(NamedTuple):
    """advantages and returns, both (B, T, S): one stream per objective and one for the KL penalty; 0 where masked."""

    advantages: Tensor
    returns: Tensor


def gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float) -> Advantages:
    """A_t = sum_l (gamma lam)^l delta_{t+l}, where delta_t = r_t + gamma V_{t+1} - V_t and V is 0 after the last token.

    rewards, values (B, T, S); mask (B, T). Linear in (rewards, values), so streams may be weighted before or after
    (Schulman et al. 2016).
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


def group_advantages(
    rewards: Tensor, mask: Tensor, stream_weights: Tensor, group: int, kind: Literal["rloo", "grpo"]
) -> Advantages:
    """Every token of a response gets the response's whole reward, against those of its group: no critic.

    rewards (B, T, S), mask (B, T), stream_weights (S,); each `group` rows in a row answer one prompt.
    rloo: A_i = R_i - mean of the others' R (Ahmadian et al. 2024). grpo: A_i = (R_i - mean) / (sd + 1e-4), with the sd
    of the weighted sum of the streams (Shao et al. 2024), so that streams may still be weighted afterwards.
    """
    total = rewards.masked_fill(mask[..., None] == 0, 0.0).sum(1)
    groups = total.unflatten(0, (-1, group))
    centered = groups - groups.mean(1, keepdim=True)
    if kind == "rloo":
        centered = centered * group / (group - 1)
    else:
        centered = centered / ((groups @ stream_weights).std(1)[:, None, None] + GRPO_EPS)
    advantages = centered.flatten(0, 1)[:, None] * mask[..., None]
    return Advantages(advantages, total[:, None] * mask[..., None])
