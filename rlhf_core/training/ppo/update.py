"""One update of PPO: the clipped losses of a minibatch, pass by pass, and a gradient step."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.models.batching import Batch
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.ppo.losses import clipped_policy_loss, clipped_value_loss, kl_estimate, masked_mean
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import Targets


class Update(NamedTuple):
    """What one update measured: losses, share of clipped tokens, KL(old || new) in nats per token, mean ratio.

    `grad_norm` is that before the clip; an update that is not `applied` went too far from the old policy.
    """

    policy_loss: float
    value_loss: float
    clip_fraction: float
    approx_kl: float
    ratio: float
    ptx_loss: float
    grad_norm: float
    applied: bool


class Losses(NamedTuple):
    """A pass's share in its minibatch's loss and in the first five numbers of an Update."""

    total: Tensor
    numbers: Tensor


def optimise(
    state: PpoState,
    batch: Batch,
    targets: Targets,
    stream_weights: Tensor,
    config: PpoConfig,
    seed: int,
    replay: Replay | None = None,
    own: Evaluation | None = None,
) -> Iterator[Update]:
    """Take a step's updates: every epoch is a shuffled pass over all rows; an update that goes too far is the last.

    `own` is the policy's evaluation of all rows, or this process's, with its graph, where the first update can use it.
    """
    generator = torch.Generator().manual_seed(seed)
    for _ in range(config.epochs):
        for rows in torch.randperm(len(batch.ids), generator=generator).split(config.minibatch_size):
            done = update(state, batch, targets, rows, stream_weights, config, replay, own)
            yield done
            if not done.applied:
                return
            own = None


def update(
    state: PpoState,
    batch: Batch,
    targets: Targets,
    rows: Tensor,
    stream_weights: Tensor,
    config: PpoConfig,
    replay: Replay | None = None,
    own: Evaluation | None = None,
) -> Update:
    """Take a gradient step on a minibatch, in as many passes as it needs; none where the policy has gone too far.

    Each process reads its share of the rows. A stream of weight 0 is left out, as if its objective did not exist. `own`
    is a graph of this process's rows that is at hand.
    """
    policy, optimizer, where = state.policy, state.optimizer, f"PPO step {state.step}"
    ranks, count, measured, ptx_loss = optimizer.ranks, batch.mask[rows].sum(), [], 0.0
    optimizer.discard()
    with policy.backbone.adapters.using(policy.adapter, train=True):
        for part, weight in ranks.passes(rows, config.micro_batch_size):
            micro = batch.rows(part)
            if own is None:
                entropy = "loss" if config.entropy_coef else "none"
                now = policy.evaluate(micro, config.temperature, train=True, entropy=entropy)
            else:
                now = own.rows(part, micro.mask.shape[1])
            aims = targets.rows(part, micro.mask.shape[1])
            loss, numbers = _losses(now, aims, micro.mask, count, stream_weights, state.kl_coef, config)
            optimizer.accumulate(weight * loss, where)
            measured.append(weight * numbers)
        whole = ranks.total(torch.stack(measured).sum(0))
        policy_loss, value_loss, clip_fraction, approx_kl, ratio = whole.tolist()
        result = Update(policy_loss, value_loss, clip_fraction, approx_kl, ratio, 0.0, 0.0, applied=False)
        if too_far(approx_kl, ratio, config):
            optimizer.discard()
            return result
        if replay is not None:
            ptx_loss = _replay(policy, replay, optimizer, where)
        return result._replace(ptx_loss=ptx_loss, grad_norm=optimizer.apply(where), applied=True)


def _replay(policy: Policy, replay: Replay, optimizer: Optimizer, where: str) -> float:
    """Accumulate the gradient of the replayed rows' loss; returns the loss over all of them."""
    shown = replay.batch(optimizer.update)
    ((rows, weight),) = optimizer.ranks.passes(torch.arange(len(shown.ids)))
    own, count = shown.rows(rows), shown.mask.sum()
    loss = -weight * masked_mean(policy.evaluate(own, train=True, entropy="none").logprobs, own.mask, count)
    optimizer.accumulate(replay.coef * loss, where)
    return optimizer.ranks.total(loss).item()


def too_far(approx_kl: float, ratio: float, config: PpoConfig) -> bool:
    """Tell whether the policy is farther from the one that sampled than is allowed."""
    over_kl = config.max_update_kl is not None and approx_kl > config.max_update_kl
    return over_kl or (config.max_ratio is not None and ratio > config.max_ratio)


def _losses(
    now: Evaluation,
    targets: Targets,
    mask: Tensor,
    count: Tensor,
    stream_weights: Tensor,
    kl_coef: float,
    config: PpoConfig,
) -> Losses:
    """The share of these rows in the loss of a minibatch of `count` tokens, and in the numbers of its Update."""
    old, active = targets.old, stream_weights.nonzero().squeeze(1)
    policy_loss, clip_fraction, approx_kl, ratio = clipped_policy_loss(
        now.logprobs, old.logprobs, targets.advantages, mask, config.clip_range, count
    )
    loss, value_loss = policy_loss, torch.zeros_like(policy_loss)
    if config.advantage == "gae":
        value_loss = clipped_value_loss(
            now.values[..., active],
            old.values[..., active],
            targets.returns[..., active],
            mask[..., None].expand(-1, -1, len(active)),
            config.value_clip_range,
            count * len(active),
        )
        loss = loss + config.value_coef * value_loss
    if config.kl_in == "loss":
        kl = kl_estimate(now.logprobs, targets.ref_logprobs, config.kl_estimator)
        kl = kl if targets.counts is None else kl * targets.counts
        loss = loss + kl_coef * masked_mean(kl, mask, count)
    if config.entropy_coef:
        loss = loss - config.entropy_coef * masked_mean(now.entropy, mask, count)
    return Losses(loss, torch.stack([policy_loss, value_loss, clip_fraction, approx_kl, ratio]).detach())
