"""What a PPO step reports of itself, over the tokens that count."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from rlhf_core.ppo_config import PpoConfig
from rlhf_core.training.ppo import masked_mean, masked_variance
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
    reward = stream_weights[:-1] @ rollout.z - config.missing_eos_penalty * rollout.unfinished
    returns, values = targets.returns @ stream_weights, targets.old.values @ stream_weights
    residual = masked_variance(returns - values, mask) / masked_variance(returns, mask).clamp_min(1e-8)
    numbers = {
        "reward": reward.mean(),
        "kl": targets.kl.mean(),
        "entropy": masked_mean(targets.old.entropy, mask),
        "explained_variance": 1 - residual,
        "response_length": mask.sum(1).float().mean(),
        "unfinished": rollout.unfinished.mean(),
        "clipped_scores": (rollout.z.abs() >= config.score_clip).float().mean(),
    }
    for name, score, z in zip(objectives, rollout.scores, rollout.z, strict=True):
        numbers |= {f"score/{name}": score.mean(), f"z/{name}": z.mean()}
    means = {name: sum(getattr(row, name) for row in updates) / len(updates) for name in Update._fields}
    return {name: float(value) for name, value in numbers.items()} | means | {"kl_coef": state.kl_coef}
