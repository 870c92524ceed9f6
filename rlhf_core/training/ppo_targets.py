"""What a PPO step aims at: the policy's own log-probs and values, the rewards paid to each token, the advantages."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.models.batching import Batch
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.training.advantages import gae
from rlhf_core.training.ppo import kl_estimate, token_rewards, whiten
from rlhf_core.training.rollout import Rollout


class Targets(NamedTuple):
    """Data, no graph: old policy, advantages (B, T), returns (B, T, K+1), kl (B,) in nats per response."""

    old: Evaluation
    advantages: Tensor
    returns: Tensor
    kl: Tensor


@torch.no_grad()
def fix_targets(policy: Policy, rollout: Rollout, stream_weights: Tensor, kl_coef: float, config: PpoConfig) -> Targets:
    """Recompute log-probs and values, pay the rewards, estimate advantages; whiten them over the whole batch."""
    batch = rollout.batch
    old = evaluate_in_parts(policy, batch, config)
    reference = policy.reference_logprobs(batch, config.temperature)
    kl = kl_estimate(old.logprobs, reference).masked_fill(batch.mask == 0, 0.0)
    streams = [token_rewards(z, batch.mask) for z in rollout.z]
    streams.append(-kl_coef * kl - token_rewards(config.missing_eos_penalty * rollout.unfinished, batch.mask))
    advantages, returns = gae(torch.stack(streams, -1), old.values, batch.mask, config.gamma, config.lam)
    return Targets(old, whiten(advantages @ stream_weights, batch.mask), returns, kl.sum(1))


def evaluate_in_parts(policy: Policy, batch: Batch, config: PpoConfig) -> Evaluation:
    """The batch under the current policy, in parts of the size of a minibatch, no gradients."""
    parts = [
        policy.evaluate(Batch(*part), config.temperature)
        for part in zip(*(whole.split(config.minibatch_size) for whole in batch), strict=True)
    ]
    return Evaluation(*(torch.cat(values) for values in zip(*parts, strict=True)))
