"""What a PPO step aims at: the policy's own log-probs and values, the rewards paid to each token, the advantages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import pad

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.models.batching import Batch
from rlhf_core.models.logprobs import rows_without_gradients
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.training.parallel import ALONE, Pass, Ranks
from rlhf_core.training.ppo.advantages import gae, group_advantages
from rlhf_core.training.ppo.losses import importance_ratio, kl_estimate, token_rewards, whiten, whiten_streams
from rlhf_core.training.ppo.rollout import Rollout
from rlhf_core.training.ppo.scalarization import normalised_streams


class Targets(NamedTuple):
    """Data, no graph: old policy, ref_logprobs and advantages (B, T), returns (B, T, K+1), kl (B,) nats a response.

    `streams` (B, T, K+1) are the advantages before they were weighed. `counts` (B, T): how many times a token counts
    in a mean of KL, as an older policy drew it; None is once each.
    """

    old: Evaluation
    ref_logprobs: Tensor
    advantages: Tensor
    returns: Tensor
    kl: Tensor
    streams: Tensor
    counts: Tensor | None = None

    def rows(self, index: Tensor, width: int) -> Targets:
        """Return the targets of some samples, cut to the first `width` tokens."""
        ref_logprobs, advantages, returns, streams = (
            part[index, :width] for part in (self.ref_logprobs, self.advantages, self.returns, self.streams)
        )
        counts = None if self.counts is None else self.counts[index, :width]
        return Targets(self.old.rows(index, width), ref_logprobs, advantages, returns, self.kl[index], streams, counts)


@torch.no_grad()
def fix_targets(
    policy: Policy,
    rollout: Rollout,
    stream_weights: Tensor,
    kl_coef: float,
    config: PpoConfig,
    own: Evaluation | None = None,
    ranks: Ranks = ALONE,
) -> Targets:
    """Recompute log-probs and values, pay the rewards, estimate advantages; add them up by the objectives' weights.

    The sum is whitened over the whole batch, where that is asked for. Where another sampler wrote the batch, each
    token's advantage then counts as many times as the learner finds the token likelier, at most `importance_cap`: the
    surrogate is linear in it, so the clipped ratio stays that of new to old policy. The old one is the learner as the
    step begins, and not what drew the token, be that another engine or an older policy (Hilton et al. 2022). KL is that
    of the learner: where an older policy drew, the mean of its log-ratio is weighed alike, and is not KL without.

    `own` is what `evaluate_once` made of the batch, where it did.
    """
    batch, temperature = rollout.batch, config.temperature
    old = evaluate_in_parts(policy, batch, config, ranks) if own is None else own
    old = Evaluation(*(ranks.total(part.detach()) for part in old))
    most = rows_without_gradients(policy.backbone, batch)
    (reference,) = in_parts(batch, ranks, most, lambda rows: [policy.reference_logprobs(rows, temperature)])
    ref_logprobs = ranks.total(reference)
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
    if rollout.behaviour is None:
        return Targets(old, ref_logprobs, joined, returns, kl.sum(1), advantages)
    counts = importance_ratio(old.logprobs, rollout.behaviour.logprobs, batch.mask).clamp_max(config.importance_cap)
    targets = Targets(old, ref_logprobs, joined * counts, returns, kl.sum(1), advantages)
    return targets._replace(kl=(kl * counts).sum(1), counts=counts) if rollout.behaviour.staleness else targets


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


def evaluate_in_parts(policy: Policy, batch: Batch, config: PpoConfig, ranks: Ranks = ALONE) -> Evaluation:
    """Evaluate this process's rows under the current policy, one pass at a time, without gradients; others are 0."""
    most = config.rows_per_pass
    return Evaluation(*in_parts(batch, ranks, most, lambda rows: policy.evaluate(rows, config.temperature)))


def evaluate_once(policy: Policy, batch: Batch, config: PpoConfig, ranks: Ranks = ALONE) -> Evaluation | None:
    """Evaluate this process's rows with their graph, where the step's first update is one pass over all; else None.

    The policy is then still the one that the step began with, so this measures the old policy too, and a pass is saved.
    """
    if config.rows_per_pass < len(batch.ids):
        return None
    entropy = "loss" if config.entropy_coef else "data"

    def measure(rows: Batch) -> Evaluation:
        return policy.evaluate(rows, config.temperature, train=True, entropy=entropy)

    return Evaluation(*in_parts(batch, ranks, None, measure))


def in_parts(
    batch: Batch, ranks: Ranks, most: int | None, measure: Callable[[Batch], Sequence[Tensor]]
) -> list[Tensor]:
    """Measure this process's rows of a batch, each result (b, t, ...), in passes of `most` rows.

    Returns (B, T, ...) that are 0 in the rows of others, so that the sum over all processes is the whole.
    """
    passes = ranks.passes(torch.arange(len(batch.ids)), most)
    found = [measure(batch.rows(rows)) for rows, _ in passes]
    return [_placed(batch, passes, parts) for parts in zip(*found, strict=True)]


def _placed(batch: Batch, passes: Sequence[Pass], parts: Sequence[Tensor]) -> Tensor:
    """Put the parts, which may be narrower than the batch, at their rows of (B, T, ...)."""
    rows = torch.cat([rows for rows, weight in passes if weight]).to(batch.ids.device)
    counted = [part for part, (_, weight) in zip(parts, passes, strict=True) if weight]
    width = batch.mask.shape[1]
    wide = torch.cat([pad(part, (0, 0) * (part.dim() - 2) + (0, width - part.shape[1])) for part in counted])
    if len(rows) == len(batch.ids):
        return wide
    return wide.new_zeros(len(batch.ids), *wide.shape[1:]).index_put((rows,), wide)
