"""One update of PPO: the clipped losses of a minibatch, and a gradient step."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from rlhf_core.models.batching import Batch
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.training.ppo import clipped_policy_loss, clipped_value_loss, masked_mean
from rlhf_core.training.ppo_state import PpoState
from rlhf_core.training.ppo_targets import Targets


class Update(NamedTuple):
    """What one update measured: losses, share of clipped tokens, KL(old || new) in nats, norm before the clip."""

    policy_loss: float
    value_loss: float
    clip_fraction: float
    approx_kl: float
    grad_norm: float


def update(
    state: PpoState, batch: Batch, targets: Targets, rows: Tensor, stream_weights: Tensor, config: PpoConfig
) -> Update:
    """One gradient step on a minibatch. A stream of weight 0 is left out, as if its objective did not exist."""
    part = batch.rows(rows)
    width, active = part.mask.shape[1], stream_weights.nonzero().squeeze(1)
    now = state.policy.evaluate(part, config.temperature, train=True, entropy=config.entropy_coef > 0)
    with state.policy.backbone.using(state.policy.adapter, train=True):
        policy_loss, clip_fraction, approx_kl = clipped_policy_loss(
            now.logprobs,
            targets.old.logprobs[rows, :width],
            targets.advantages[rows, :width],
            part.mask,
            config.clip_range,
        )
        value_loss = clipped_value_loss(
            now.values[..., active],
            targets.old.values[rows, :width][..., active],
            targets.returns[rows, :width][..., active],
            part.mask[..., None].expand(-1, -1, len(active)),
            config.value_clip_range,
        )
        loss = policy_loss + config.value_coef * value_loss
        if config.entropy_coef:
            loss = loss - config.entropy_coef * masked_mean(now.entropy, part.mask)
        norm = state.optimizer.step(loss, f"PPO step {state.step}")
    measured = (policy_loss, value_loss, clip_fraction, approx_kl)
    return Update(*(tensor.item() for tensor in measured), norm)
