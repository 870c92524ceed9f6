"""What each objective had of a PPO step: reward, pull on the policy, clipped scores, and what its critic explained."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf_core.ppo_config import PpoConfig
from rlhf_core.training.ppo import explained_variance
from rlhf_core.training.ppo_targets import Targets
from rlhf_core.training.rollout import Rollout

KL = "kl"
"""The name of the stream that pays for KL and for a missing end."""


@torch.no_grad()
def objective_metrics(
    objectives: Sequence[str], rollout: Rollout, targets: Targets, stream_weights: Tensor, config: PpoConfig
) -> dict[str, float]:
    """Numbers by `<what>/<objective>`, those of advantage and critic by `<what>/kl` too, where they can be told.

    coefficient: what its stream counts. reward: its part of the mean reward. advantage: root mean square of its part of
    the advantage, before whitening. advantage_share: its part of the variance of their sum; the shares add up to 1, one
    below 0 is overruled. clipped: share of its scores at the clip. explained_variance: of its returns, by its values.
    """
    numbers: dict[str, float] = {}
    for name, weight, paid, z in zip(objectives, stream_weights.tolist(), rollout.paid, rollout.z, strict=False):
        numbers[f"coefficient/{name}"] = weight
        numbers[f"reward/{name}"] = weight * float(paid.mean())
        numbers[f"clipped/{name}"] = float((z.abs() >= config.score_clip).float().mean())
    numbers |= _pulls((*objectives, KL), targets.streams * stream_weights, rollout.batch.mask)
    if config.advantage == "gae":
        numbers |= _explained((*objectives, KL), targets, rollout.batch.mask)
    return numbers


def _pulls(names: Sequence[str], parts: Tensor, mask: Tensor) -> dict[str, float]:
    """Of each stream's part (B, T, S) of the advantage."""
    keep = mask.bool()[..., None]
    centered = parts.masked_fill(~keep, 0.0)
    size = (centered.square().sum((0, 1)) / mask.sum()).sqrt()
    centered = (parts - centered.sum((0, 1)) / mask.sum()).masked_fill(~keep, 0.0)
    total = centered.sum(-1)
    shares = (centered * total[..., None]).sum((0, 1)) / total.square().sum().clamp_min(1e-12)
    numbers = {f"advantage/{name}": value for name, value in zip(names, size.tolist(), strict=True)}
    return numbers | {f"advantage_share/{name}": value for name, value in zip(names, shares.tolist(), strict=True)}


def _explained(names: Sequence[str], targets: Targets, mask: Tensor) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for index, name in enumerate(names):
        explained = explained_variance(targets.old.values[..., index], targets.returns[..., index], mask)
        numbers |= {} if explained is None else {f"explained_variance/{name}": explained}
    return numbers
