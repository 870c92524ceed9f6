"""Several objectives in one reward: standardised scores, and a weighted sum whose spread the weights do not change."""

from __future__ import annotations

import torch
from torch import Tensor

MIN_VARIANCE = 0.1
"""Least variance that a weighted sum is taken to have, as a share of the squared weights.

Objectives that oppose each other almost exactly would otherwise be amplified without bound.
"""


def standardise(scores: Tensor, mean: Tensor, sd: Tensor, clip: float) -> Tensor:
    """z (K, B): scores (K, B) in standard deviations of the reference policy's scores, clipped to +-clip.

    ValueError when a score is not finite or a standard deviation is not above 0.
    """
    if not torch.isfinite(scores).all():
        raise ValueError(f"{int((~torch.isfinite(scores)).sum())} of {scores.numel()} scores are not finite")
    if not (sd > 0).all():
        raise ValueError(f"standard deviations must be above 0, they are {sd.tolist()}")
    return ((scores - mean[:, None]) / sd[:, None]).clamp(-clip, clip)


def linear_coefficients(weights: Tensor, correlation: Tensor) -> Tensor:
    """Coefficients c (K,) of the reward sum_k c_k z_k: c = w / sqrt(w' C w), from weights (K,) and C (K, K).

    The reward then has variance 1 under the reference policy at every setting of the weights, and only their
    proportions count. ValueError when a weight is negative or not finite, or all are 0.
    """
    if not torch.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(f"weights must be finite, at least 0 and not all 0; they are {weights.tolist()}")
    variance = weights @ correlation @ weights
    return weights / variance.clamp_min(MIN_VARIANCE * weights.square().sum()).sqrt()
