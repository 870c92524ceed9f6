"""Several objectives in one reward: standardised scores, and the ways to combine them.

Every combination pays each objective its own score, (K,) by (B,), and adds them up with coefficients. So the critic has
one stream per objective, and weights enter only where advantages are added.
"""

from __future__ import annotations

import torch
from torch import Tensor

MIN_VARIANCE = 0.1
"""Least variance that a weighted sum is taken to have, as a share of the squared weights.

Objectives that oppose each other almost exactly would otherwise be amplified without bound.
"""
LEAST_MULTIPLIER = 1e-3
"""A multiplier that is not needed falls no lower, so that it can come back."""
LEAST_SD = 0.1
"""Least spread of an objective's advantages, in standard deviations of the reference policy's scores."""


def standardise(scores: Tensor, mean: Tensor, sd: Tensor, clip: float) -> Tensor:
    """Return z (K, B): scores (K, B) in standard deviations of the reference policy's scores, clipped to +-clip.

    ValueError when a score is not finite or a standard deviation is not above 0.
    """
    if not torch.isfinite(scores).all():
        raise ValueError(f"{int((~torch.isfinite(scores)).sum())} of {scores.numel()} scores are not finite")
    if not (sd > 0).all():
        raise ValueError(f"standard deviations must be above 0, they are {sd.tolist()}")
    return ((scores - mean[:, None]) / sd[:, None]).clamp(-clip, clip)


def linear_coefficients(weights: Tensor, correlation: Tensor) -> Tensor:
    """Return the coefficients c (K,) of the reward sum_k c_k z_k: c = w / sqrt(w' C w), from weights (K,) and C (K, K).

    The reward then has variance 1 under the reference policy at every setting of the weights, and only their
    proportions count. ValueError when a weight is negative or not finite, or all are 0.
    """
    if not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(f"weights must be finite, at least 0 and not all 0; they are {weights.tolist()}")
    variance = weights @ correlation @ weights
    return weights / variance.clamp_min(MIN_VARIANCE * weights.square().sum()).sqrt()


def log_sigmoid_scores(z: Tensor, anchor: Tensor, temperature: float) -> Tensor:
    """Return scores (K, B) = log sigmoid((z - anchor) / temperature): a soft AND, below 0 (Wang et al. 2024).

    anchor (K,) is the z that counts as good. Beyond it little is left to gain, below it the slope is that of z, so that
    a sum of these rewards replies that are good in all objectives.
    """
    return torch.nn.functional.logsigmoid((z - anchor[:, None]) / temperature)


def worst_case_scores(margins: Tensor, active: Tensor, temperature: float) -> Tensor:
    """Return scores (K, B) whose sum is the least active margin, or its soft form -T log mean exp(-margin / T).

    margins (K, B); active (K,) bool, the others score 0. Each objective is paid its part of the sum,
    p (margin + T log(n p)) with p = softmax(-margin / T) over the n active ones; equal least margins share at T = 0.
    """
    outside = ~active[:, None]
    if temperature == 0:
        least = margins.masked_fill(outside, torch.inf).amin(0)
        share = ((margins == least) & active[:, None]).to(margins.dtype)
        return (share / share.sum(0) * margins).masked_fill(outside, 0.0)
    log_share = (-margins / temperature).masked_fill(outside, -torch.inf).log_softmax(0)
    log_share = log_share.masked_fill(outside, 0.0)
    parts = log_share.exp() * (margins + temperature * (log_share + active.sum().to(margins.dtype).log()))
    return parts.masked_fill(outside, 0.0)


def constrained_coefficients(coefficients: Tensor, multipliers: Tensor) -> Tensor:
    """Return (c + lambda) / (1 + sum lambda), both (K,): the Lagrangian's gradient in z.

    Dai et al. 2023, Safe RLHF, eq. 10.

    The division keeps the reward's size, and with it the price of KL, whatever the multipliers.
    """
    return (coefficients + multipliers) / (1 + multipliers.sum())


def learned_multipliers(multipliers: Tensor, shortfall: Tensor, rate: float, most: float) -> Tensor:
    """Return the next multipliers (K,).

    They go up where the mean falls short of its floor, down where it does not need the push.

    lambda exp(rate * shortfall), kept between `LEAST_MULTIPLIER` and `most`; a multiplier of 0 belongs to no floor and
    stays. Safe RLHF's step has one more factor lambda, with which a small multiplier would hardly come back.
    """
    learned = (multipliers * (rate * shortfall).exp()).clamp(LEAST_MULTIPLIER, most)
    return torch.where(multipliers > 0, learned, multipliers)


def normalised_streams(advantages: Tensor, mask: Tensor, least_sd: float = LEAST_SD) -> Tensor:
    """Return advantages (B, T, S) with mean 0 and sd 1 in each stream but the last, over tokens of mask (B, T).

    The last stream, the KL penalty's, keeps its unit. A stream whose sd is below `least_sd` is divided by that, so
    that the noise of an objective that has nothing left to say is not blown up (GDPO, 2026, guards only against 0).
    """
    keep, count = mask.bool()[..., None], mask.sum()
    mean = advantages.masked_fill(~keep, 0.0).sum((0, 1)) / count
    centered = (advantages - mean).masked_fill(~keep, 0.0)
    sd = (centered.square().sum((0, 1)) / (count - 1).clamp_min(1)).sqrt().clamp_min(least_sd)
    return torch.cat([(centered / sd)[..., :-1], advantages[..., -1:]], -1)
