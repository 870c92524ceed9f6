"""Proximal policy optimisation on tokens: masked statistics, KL, token rewards and the clipped losses.

Every tensor is (B, T) unless said otherwise; a mask is 1 on the tokens that count.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

KlEstimator = Literal["k1", "k2", "k3"]


class PolicyLoss(NamedTuple):
    """The loss to minimise, the share of clipped tokens, the k3 estimate of KL(old || new) in nats, the mean ratio."""

    loss: Tensor
    clip_fraction: Tensor
    approx_kl: Tensor
    ratio: Tensor


def masked_mean(values: Tensor, mask: Tensor, count: Tensor | None = None) -> Tensor:
    """Return the mean over the tokens that count; what stands elsewhere, be it infinite, changes nothing.

    With a `count`, the share of these tokens in the mean over that many: shares of parts add up to the whole's mean.
    """
    return values.masked_fill(mask == 0, 0.0).sum() / (mask.sum() if count is None else count)


def masked_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Return the unbiased variance over the tokens that count; 0 when there is only one."""
    centered = values.masked_fill(mask == 0, 0.0) - masked_mean(values, mask)
    return (centered.square() * mask).sum() / (mask.sum() - 1).clamp_min(1)


def explained_variance(values: Tensor, returns: Tensor, mask: Tensor) -> float | None:
    """Return the share of the returns' variance that the values explain; None where the returns do not vary."""
    variance = masked_variance(returns, mask).item()
    return 1 - masked_variance(returns - values, mask).item() / variance if variance > 1e-8 else None


def whiten(values: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """Scale to variance 1 over the whole batch, and to mean 0 unless `shift_mean` is false; 0 where masked."""
    mean = masked_mean(values, mask)
    whitened = (values - mean) * torch.rsqrt(masked_variance(values, mask) + 1e-8)
    return (whitened if shift_mean else whitened + mean).masked_fill(mask == 0, 0.0)


def kl_estimate(logprobs: Tensor, ref_logprobs: Tensor, estimator: KlEstimator = "k1") -> Tensor:
    """Return a per-token estimate of KL(policy || reference) from the policy's own samples, in nats (Schulman 2020).

    k1 is unbiased; k2 has low variance and a bias; k3 is unbiased and never negative.
    """
    log_ratio = ref_logprobs - logprobs
    if estimator == "k1":
        return -log_ratio
    if estimator == "k2":
        return log_ratio.square() / 2
    return log_ratio.expm1() - log_ratio


def token_rewards(scores: Tensor, mask: Tensor) -> Tensor:
    """Return the rewards (B, T) that pay each response's score (B,) once, on its last token."""
    last = mask.sum(1).long() - 1
    return torch.zeros_like(mask, dtype=scores.dtype).scatter(1, last[:, None], scores[:, None])


def whiten_streams(rewards: Tensor, stream_weights: Tensor, mask: Tensor) -> Tensor:
    """Return streams (B, T, S) whose weighted sum is the whitened weighted sum, its mean kept; 0 where masked."""
    keep = mask[..., None] != 0
    rewards = rewards.masked_fill(~keep, 0.0)
    scale = torch.rsqrt(masked_variance(rewards @ stream_weights, mask) + 1e-8)
    mean = rewards.sum((0, 1)) / mask.sum()
    return (rewards * scale + mean * (1 - scale)).masked_fill(~keep, 0.0)


def clipped_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip_range: float,
    count: Tensor | None = None,
) -> PolicyLoss:
    """Return the pessimistic clipped surrogate, averaged over tokens; `count` as above.

    Schulman et al. 2017, eq. 7.
    """
    log_ratio = (logprobs - old_logprobs).masked_fill(mask == 0, 0.0)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - clip_range, 1 + clip_range)
    loss = masked_mean(torch.maximum(-advantages * ratio, -advantages * clipped), mask, count)
    with torch.no_grad():
        clip_fraction = masked_mean(((ratio - 1).abs() > clip_range).float(), mask, count)
        approx_kl = masked_mean(ratio - 1 - log_ratio, mask, count)
        return PolicyLoss(loss, clip_fraction, approx_kl, masked_mean(ratio, mask, count))


def importance_ratio(logprobs: Tensor, sampler_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Return how much likelier the learner finds each token than the sampler that drew it; 1 where masked."""
    return (logprobs - sampler_logprobs).masked_fill(mask == 0, 0.0).exp()


def clipped_value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip_range: float | None,
    count: Tensor | None = None,
) -> Tensor:
    """Return half the larger of the squared errors with and without a clip around the old values, averaged over tokens.

    Without a clip range it is half the squared error.
    """
    # Before the squares, so that not even the gradient of what is not finite reaches a value.
    values, old_values, returns = (part.masked_fill(mask == 0, 0.0) for part in (values, old_values, returns))
    errors = (values - returns).square()
    if clip_range is not None:
        clipped = old_values + (values - old_values).clamp(-clip_range, clip_range)
        errors = torch.maximum(errors, (clipped - returns).square())
    return 0.5 * masked_mean(errors, mask, count)


def adapted_kl_coef(kl_coef: float, kl: float, target: float, samples: int, horizon: int) -> float:
    """Return the next KL coefficient: up when `kl` is above the target, at most 20 % per horizon; always above 0.

    Ziegler et al. 2019.
    """
    error, horizons = min(max(kl / target - 1, -0.2), 0.2), samples / horizon
    # More samples than a horizon are as many horizons one after another: five at once would take all of it and more.
    return kl_coef * (1 + error * horizons if horizons <= 1 else (1 + error) ** horizons)
