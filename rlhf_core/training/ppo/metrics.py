"""What a PPO step reports of itself and of each objective, over the tokens that count."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.training.ppo.losses import explained_variance, importance_ratio, kl_estimate, masked_mean
from rlhf_core.training.ppo.responses import Behaviour
from rlhf_core.training.ppo.rollout import Rollout
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import Targets
from rlhf_core.training.ppo.update import Update

KL = "kl"
"""The name of the stream that pays for KL and for a missing end."""


def step_metrics(
    rollout: Rollout,
    targets: Targets,
    updates: Sequence[Update],
    stream_weights: Tensor,
    state: PpoState,
    config: PpoConfig,
) -> dict[str, float]:
    """Return a step's numbers by name; what each update measures is averaged over the updates."""
    mask, objectives = rollout.batch.mask, state.policy.objectives
    reward = stream_weights[:-1] @ rollout.paid - config.missing_eos_penalty * rollout.unfinished
    numbers = {
        "reward": reward.mean(),
        "kl": targets.kl.mean(),
        "entropy": masked_mean(targets.old.entropy, mask),
        "response_length": mask.sum(1).float().mean(),
        "unfinished": rollout.unfinished.mean(),
        "clipped_scores": (rollout.z.abs() >= config.score_clip).float().mean(),
    }
    for name, score, z in zip(objectives, rollout.scores, rollout.z, strict=True):
        numbers |= {f"score/{name}": score.mean(), f"z/{name}": z.mean()}
    if config.advantage == "gae":
        explained = explained_variance(targets.old.values @ stream_weights, targets.returns @ stream_weights, mask)
        numbers |= {} if explained is None else {"explained_variance": explained}
    if rollout.behaviour is not None:
        numbers |= sampler_metrics(rollout.behaviour, targets.old.logprobs, mask, config.importance_cap)
    each = objective_metrics(objectives, rollout, targets, stream_weights, config)
    return {name: float(value) for name, value in numbers.items()} | each | {"kl_coef": state.kl_coef} | _means(updates)


def sampler_metrics(behaviour: Behaviour, logprobs: Tensor, mask: Tensor, cap: float) -> dict[str, Tensor | float]:
    """Return how far the sampler that wrote the batch is from the learner, over the tokens that count.

    ratio: mean of learner to sampler, 1 where they agree. truncated: share above the cap. kl: KL(sampler || learner) in
    nats per token (k3). gap and gap_max: mean and largest difference of log-probs. staleness: steps by which its policy
    is behind.
    """
    theirs = behaviour.logprobs
    ratio, gap = importance_ratio(logprobs, theirs, mask), (logprobs - theirs).abs().masked_fill(mask == 0, 0.0)
    return {
        "sampler/ratio": masked_mean(ratio, mask),
        "sampler/truncated": masked_mean((ratio > cap).float(), mask),
        "sampler/kl": masked_mean(kl_estimate(theirs, logprobs, "k3"), mask),
        "sampler/gap": masked_mean(gap, mask),
        "sampler/gap_max": gap.max(),
        "sampler/handover_seconds": behaviour.handover_seconds,
        "sampler/handover_bytes": behaviour.handover_bytes,
        "sampler/tokens_per_second": behaviour.tokens_per_second,
        "sampler/waited_seconds": behaviour.waited_seconds,
        "sampler/staleness": float(behaviour.staleness),
    }


def _means(updates: Sequence[Update]) -> dict[str, float]:
    applied = [row for row in updates if row.applied]
    names = [name for name in Update._fields if name != "applied"]
    means = {name: sum(getattr(row, name) for row in applied) / max(1, len(applied)) for name in names}
    # The KL that ended the updates is the one to look at.
    return means | {"updates": float(len(applied)), "approx_kl_last": updates[-1].approx_kl}


@torch.no_grad()
def objective_metrics(
    objectives: Sequence[str], rollout: Rollout, targets: Targets, stream_weights: Tensor, config: PpoConfig
) -> dict[str, float]:
    """Return numbers by `<what>/<objective>`, of advantage and critic by `<what>/kl` too, where they are defined.

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
