"""What a PPO step aims at: the policy's own log-probs and values, the rewards paid to each token, the advantages."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.models.batching import Batch
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.training.ppo.advantages import gae, group_advantages
from rlhf_core.training.ppo.losses import kl_estimate, token_rewards, whiten, whiten_streams
from rlhf_core.training.ppo.rollout import Rollout
from rlhf_core.training.ppo.scalarization import normalised_streams


class Targets(NamedTuple):
    """Data, no graph: old policy, ref_logprobs and advantages (B, T), returns (B, T, K+1), kl (B,) nats a response.

    `streams` (B, T, K+1) are the advantages before they were weighed.
    """

    old: Evaluation
    ref_logprobs: Tensor
    advantages: Tensor
    returns: Tensor
    kl: Tensor
    streams: Tensor

    def rows(self, index: Tensor, width: int) -> Targets:
        """Return the targets of some samples, cut to the first `width` tokens."""
        ref_logprobs, advantages, returns, streams = (
            part[index, :width] for part in (self.ref_logprobs, self.advantages, self.returns, self.streams)
        )
        return Targets(self.old.rows(index, width), ref_logprobs, advantages, returns, self.kl[index], streams)


@torch.no_grad()
def fix_targets(
    policy: Policy,
    rollout: Rollout,
    stream_weights: Tensor,
    kl_coef: float,
    config: PpoConfig,
    own: Evaluation | None = None,
) -> Targets:
    """Recompute log-probs and values, pay the rewards, estimate advantages; whiten them over the whole batch.

    `own` is the current policy's evaluation of the whole batch, where there is one already.
    """
    batch = rollout.batch
    old = evaluate_in_parts(policy, batch, config) if own is None else Evaluation(*(part.detach() for part in own))
    ref_logprobs = policy.reference_logprobs(batch, config.temperature)
    kl = kl_estimate(old.logprobs, ref_logprobs, config.kl_estimator).masked_fill(batch.mask == 0, 0.0)
    rewards = token_streams(rollout, kl, kl_coef if config.kl_in == "reward" else 0.0, config)
    if config.whiten_rewards:
        rewards = whiten_streams(rewards, stream_weights, batch.mask)
    if config.advantage == "gae":
        advantages, returns = gae(rewards, old.values, batch.mask, config.gamma, config.lam)
    else:
        group, kind = config.samples_per_prompt, config.advantage
        lines = rollout.credit.lines
        advantages, returns = group_advantages(rewards, batch.mask, stream_weights, group, kind, lines)
    if config.dial.normalise:
        advantages = normalised_streams(advantages, batch.mask)
    joined = advantages @ stream_weights
    if config.whitens:
        joined = whiten(joined, batch.mask)
    return Targets(old, ref_logprobs, joined, returns, kl.sum(1), advantages)


def token_streams(rollout: Rollout, kl: Tensor, kl_coef: float, config: PpoConfig) -> Tensor:
    """Return rewards (B, T, K+1): what an objective pays, on the last token of a response or of each of its lines.

    The last stream pays KL and a missing end.
    """
    mask = rollout.batch.mask
    streams = [
        token_rewards(paid, mask) + moved for paid, moved in zip(rollout.paid, rollout.credit.moved, strict=True)
    ]
    streams.append(-kl_coef * kl - token_rewards(config.missing_eos_penalty * rollout.unfinished, mask))
    return torch.stack(streams, -1)


def evaluate_in_parts(policy: Policy, batch: Batch, config: PpoConfig) -> Evaluation:
    """Evaluate the batch under the current policy, one pass at a time, without gradients."""
    parts = [
        policy.evaluate(Batch(*part), config.temperature)
        for part in zip(*(whole.split(config.rows_per_pass) for whole in batch), strict=True)
    ]
    return Evaluation(*(torch.cat(values) for values in zip(*parts, strict=True)))


def evaluate_once(policy: Policy, batch: Batch, config: PpoConfig) -> Evaluation | None:
    """Evaluate the batch with its graph, where the step's first update is one pass over the whole batch; else None.

    The policy is then still the one that sampled, so this measures the old policy too, and a pass is saved.
    """
    if config.rows_per_pass < len(batch.ids):
        return None
    return policy.evaluate(batch, config.temperature, train=True, entropy="loss" if config.entropy_coef else "data")
