"""The PPO loop: roll out, fix the targets, optimise, yield. Several objectives, one critic stream each."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.config import PpoConfig
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.models.batching import Batch
from rlhf_core.models.generation import derived_seed
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import Prompt, Sample
from rlhf_core.run_records import NormPack, StepMetrics
from rlhf_core.training.advantages import gae
from rlhf_core.training.objectives import linear_coefficients
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.ppo import (
    adapted_kl_coef,
    clipped_policy_loss,
    clipped_value_loss,
    kl_estimate,
    masked_mean,
    masked_variance,
    token_rewards,
    whiten,
)
from rlhf_core.training.rollout import Rollout, roll_out, step_prompts

KL_HORIZON = 512
"""Samples over which an adaptive KL coefficient may change by 20 %."""


@dataclass
class PpoState:
    """All that the loop carries from one step to the next; every random number comes from (seed, step)."""

    policy: Policy
    optimizer: Optimizer
    kl_coef: float
    step: int = 0

    def advance(self, kl: Tensor, config: PpoConfig) -> None:
        """Count the step; where there is a target, adapt the KL coefficient to the step's kl (B,)."""
        self.step += 1
        if config.kl_target is not None:
            self.kl_coef = adapted_kl_coef(self.kl_coef, kl.mean().item(), config.kl_target, len(kl), KL_HORIZON)

    def save(self, folder: Path) -> None:
        """Write a checkpoint: safetensors and JSON only."""
        self.policy.save(folder)
        self.optimizer.save(folder / "optimizer.safetensors")
        (folder / "ppo.json").write_text(json.dumps({"step": self.step, "kl_coef": self.kl_coef}))

    @classmethod
    def begin(cls, policy: Policy, config: PpoConfig, checkpoint: Path | None) -> PpoState:
        """A new state, or the one that was saved in `checkpoint`."""
        if checkpoint is not None:
            policy.restore(checkpoint)
        updates = config.steps * config.epochs * -(-config.prompts_per_step // config.minibatch_size)
        optimizer = Optimizer(
            policy.parameters(), config.learning_rate, updates, config.max_grad_norm, eps=1e-5, warmup=0
        )
        if checkpoint is None:
            return cls(policy, optimizer, config.kl_coef)
        optimizer.load(checkpoint / "optimizer.safetensors")
        saved = json.loads((checkpoint / "ppo.json").read_text())
        return cls(policy, optimizer, saved["kl_coef"], saved["step"])


class Targets(NamedTuple):
    """What a step's losses aim at: data, no graph. advantages (B, T), returns (B, T, K+1), kl (B,) in nats."""

    old: Evaluation
    advantages: Tensor
    returns: Tensor
    kl: Tensor


class PpoStep(NamedTuple):
    """One step's metrics, its samples with their scores (K, B), and the state, to be saved or not."""

    metrics: StepMetrics
    samples: list[Sample]
    scores: Tensor
    state: PpoState


def train_ppo(
    policy: Policy,
    reward_models: Sequence[RewardModel],
    norm_pack: NormPack,
    prompts: Sequence[Prompt],
    weights: Mapping[str, float],
    config: PpoConfig,
    max_tokens: int,
    seed: int,
    checkpoint: Path | None = None,
) -> Iterator[PpoStep | None]:
    """Yield each step when it is done, and None between its parts, so that others can use the device meanwhile.

    With a checkpoint, go on as if never interrupted. A stream carries its objective's own z, and the weights enter
    where advantages are added up: GAE(sum c_k z_k) = sum c_k GAE(z_k), and the critic does not depend on the weights.
    """
    stream_weights = _stream_weights(policy, reward_models, norm_pack, weights)
    if not prompts:
        raise TrainingFailed("there are no prompts to train on")
    state = PpoState.begin(policy, config, checkpoint)
    while state.step < config.steps:
        started = time.perf_counter()
        # 1. Rollout: sample from the current policy, then score every objective.
        chosen = step_prompts(prompts, config.prompts_per_step, seed, state.step)
        rollout = roll_out(policy, reward_models, norm_pack, chosen, config, max_tokens, derived_seed(seed, state.step))
        yield None
        # 2. Fix this step's targets: from here they are data, not graph.
        targets = fix_targets(policy, rollout, stream_weights, state.kl_coef, config)
        yield None
        # 3. Optimise the clipped surrogate over shuffled minibatches.
        generator = torch.Generator().manual_seed(derived_seed(seed, state.step, "minibatches"))
        updates = []
        for _ in range(config.epochs):
            for rows in torch.randperm(len(chosen), generator=generator).split(config.minibatch_size):
                updates.append(update(state, rollout.batch, targets, rows, stream_weights, config))
                yield None
        # 4. Report, and carry on from what was just learned.
        values = _metrics(rollout, targets, updates, stream_weights, state, config)
        state.advance(targets.kl, config)
        values["seconds"] = time.perf_counter() - started
        metrics = StepMetrics(stage="ppo", step=state.step, steps=config.steps, values=values)
        yield PpoStep(metrics, rollout.samples, rollout.scores, state)


@torch.no_grad()
def fix_targets(policy: Policy, rollout: Rollout, stream_weights: Tensor, kl_coef: float, config: PpoConfig) -> Targets:
    """Recompute log-probs and values, pay the rewards, estimate advantages; whiten them over the whole batch."""
    batch = rollout.batch
    parts = [
        policy.evaluate(Batch(*part), config.temperature)
        for part in zip(*(whole.split(config.minibatch_size) for whole in batch), strict=True)
    ]
    old = Evaluation(*(torch.cat(values) for values in zip(*parts, strict=True)))
    reference = policy.reference_logprobs(batch, config.temperature)
    kl = kl_estimate(old.logprobs, reference).masked_fill(batch.mask == 0, 0.0)
    streams = [token_rewards(z, batch.mask) for z in rollout.z]
    streams.append(-kl_coef * kl - token_rewards(config.missing_eos_penalty * rollout.unfinished, batch.mask))
    advantages, returns = gae(torch.stack(streams, -1), old.values, batch.mask, config.gamma, config.lam)
    return Targets(old, whiten(advantages @ stream_weights, batch.mask), returns, kl.sum(1))


def update(
    state: PpoState, batch: Batch, targets: Targets, rows: Tensor, stream_weights: Tensor, config: PpoConfig
) -> dict[str, float]:
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
    names = ("policy_loss", "value_loss", "clip_fraction", "approx_kl")
    tensors = (policy_loss, value_loss, clip_fraction, approx_kl)
    return {"grad_norm": norm} | {name: tensor.item() for name, tensor in zip(names, tensors, strict=True)}


def _metrics(
    rollout: Rollout,
    targets: Targets,
    updates: Sequence[Mapping[str, float]],
    stream_weights: Tensor,
    state: PpoState,
    config: PpoConfig,
) -> dict[str, float]:
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
    means = {name: sum(row[name] for row in updates) / len(updates) for name in updates[0]}
    return {name: float(value) for name, value in numbers.items()} | means | {"kl_coef": state.kl_coef}


def _stream_weights(
    policy: Policy, reward_models: Sequence[RewardModel], norm_pack: NormPack, weights: Mapping[str, float]
) -> Tensor:
    """(K+1,): the coefficient of each objective's z, and 1 for the stream of the KL penalty."""
    objectives = policy.objectives
    found = {"reward models": tuple(model.objective for model in reward_models), "NormPack": norm_pack.objectives}
    for name, has in found.items():
        if has != objectives:
            raise InvalidInput(f"the {name} are for {', '.join(has)}; the policy's objectives: {', '.join(objectives)}")
    if set(weights) != set(objectives):
        raise InvalidInput(
            f"weights are given for {', '.join(weights) or 'nothing'}; the objectives: {', '.join(objectives)}",
            "weights",
        )
    try:
        chosen = torch.tensor([float(weights[name]) for name in objectives])
        coefficients = linear_coefficients(chosen, torch.tensor(norm_pack.correlation))
    except ValueError as error:
        raise InvalidInput(str(error), "weights") from error
    return torch.cat([coefficients, torch.ones(1)]).to(policy.backbone.device)
