"""What a PPO step reports of itself, over the tokens that count."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlhf_core.ppo_config import PpoConfig
from rlhf_core.training.objective_metrics import objective_metrics
from rlhf_core.training.ppo import explained_variance, masked_mean
from rlhf_core.training.ppo_state import PpoState
from rlhf_core.training.ppo_targets import Targets
from rlhf_core.training.ppo_update import Update
from rlhf_core.training.rollout import Rollout


def step_metrics(
    rollout: Rollout,
    targets: Targets,
    updates: Sequence[Update],
    stream_weights: Tensor,
    state: PpoState,
    config: PpoConfig,
) -> dict[str, float]:
    """Plain numbers by name; those of the updates are means over them."""
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
    each = objective_metrics(objectives, rollout, targets, stream_weights, config)
    return {name: float(value) for name, value in numbers.items()} | each | {"kl_coef": state.kl_coef} | _means(updates)


def _means(updates: Sequence[Update]) -> dict[str, float]:
    applied = [row for row in updates if row.applied]
    names = [name for name in Update._fields if name != "applied"]
    means = {name: sum(getattr(row, name) for row in applied) / max(1, len(applied)) for name in names}
    # The KL that ended the updates is the one to look at.
    return means | {"updates": float(len(applied)), "approx_kl_last": updates[-1].approx_kl}
