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
    """Return A_t = sum_l (gamma lam)^l delta_{t+l}; delta_t = r_t + gamma V_{t+1} - V_t, V 0 after the last token.

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
    rewards: Tensor,
    mask: Tensor,
    stream_weights: Tensor,
    group: int,
    kind: Literal["rloo", "grpo"],
    lines: Tensor | None = None,
) -> Advantages:
    """Compare what a response is paid from each line on with the others of its group: advantages without a critic.

    rewards (B, T, S), mask (B, T), stream_weights (S,); each `group` rows in a row answer one prompt. lines (B, T)
    counts a response's lines from 0; None makes each response one line, and R is what it is paid in all.
    rloo: A_i = R_i - mean of the others' R (Ahmadian et al. 2024). grpo: A_i = (R_i - mean) / (sd + 1e-4), with the sd
    of the weighted sum of the streams (Shao et al. 2024), so that streams may still be weighted afterwards.
    """
    rewards = rewards.masked_fill(mask[..., None] == 0, 0.0)
    lines = torch.zeros_like(mask, dtype=torch.long) if lines is None else lines
    ahead = reward_from_line(rewards, lines)
    groups = ahead.unflatten(0, (-1, group))
    centered = groups - groups.mean(1, keepdim=True)
    if kind == "rloo":
        centered = centered * group / (group - 1)
    else:
        spread = (groups[:, :, 0] @ stream_weights).std(1)
        centered = centered / (spread[:, None, None, None] + GRPO_EPS)
    rows = torch.arange(len(mask), device=mask.device)[:, None]
    advantages, returns = centered.flatten(0, 1)[rows, lines], ahead[rows, lines]
    return Advantages(advantages * mask[..., None], returns * mask[..., None])


def reward_from_line(rewards: Tensor, lines: Tensor) -> Tensor:
    """Return (B, L, S): what rewards (B, T, S) pay from each line on, the lines (B, T) counted from 0.

    It is 0 behind the last line.
    """
    count = int(lines.max()) + 1
    by_line = rewards.new_zeros(len(rewards), count, rewards.shape[2])
    by_line = by_line.scatter_add(1, lines[..., None].expand_as(rewards), rewards)
    return by_line.flip(1).cumsum(1).flip(1)
