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
from rlhf_core.models.batching import Batch, make_batch
from rlhf_core.models.generation import derived_seed, generate
from rlhf_core.models.policy import Evaluation, Policy
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import NormPack, Prompt, Sample, StepMetrics, content_id
from rlhf_core.training.advantages import gae
from rlhf_core.training.objectives import linear_coefficients, standardise
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

KL_HORIZON = 512
"""Samples over which an adaptive KL coefficient may change by 20 %."""


@dataclass
class PpoState:
    """All that the loop carries from one step to the next; every random number comes from (seed, step)."""

    policy: Policy
    optimizer: Optimizer
    kl_coef: float
    step: int = 0

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


class Rollout(NamedTuple):
    """Samples of the current policy; scores and z (K, B), `unfinished` (B,) is 1 where the end token is missing."""

    samples: list[Sample]
    batch: Batch
    scores: Tensor
    z: Tensor
    unfinished: Tensor


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
) -> Iterator[PpoStep]:
    """Yield after every step. With a checkpoint, go on as if never interrupted.

    Streams carry each objective's own z; the weights enter where advantages are added up, so that
    GAE(sum c_k z_k) = sum c_k GAE(z_k) and the critic never depends on the weights.
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
        # 2. Fix this step's targets: from here they are data, not graph.
        targets = fix_targets(policy, rollout, stream_weights, state.kl_coef, config)
        # 3. Optimise the clipped surrogate over shuffled minibatches.
        generator = torch.Generator().manual_seed(derived_seed(seed, state.step, "minibatches"))
        updates = []
        for _ in range(config.epochs):
            for rows in torch.randperm(len(chosen), generator=generator).split(config.minibatch_size):
                updates.append(update(state, rollout.batch, targets, rows, stream_weights, config))
        # 4. Report, and carry on from what was just learned.
        values = _metrics(rollout, targets, updates, stream_weights, state, config)
        state.step += 1
        if config.kl_target is not None:
            kl = targets.kl.mean().item()
            state.kl_coef = adapted_kl_coef(state.kl_coef, kl, config.kl_target, len(chosen), KL_HORIZON)
        values["seconds"] = time.perf_counter() - started
        metrics = StepMetrics(stage="ppo", step=state.step, steps=config.steps, values=values)
        yield PpoStep(metrics, rollout.samples, rollout.scores, state)


def step_prompts(prompts: Sequence[Prompt], count: int, seed: int, step: int) -> list[Prompt]:
    """The prompts of a step: one shuffled pass over all of them after another."""
    orders: dict[int, list[int]] = {}
    chosen = []
    for position in range(step * count, (step + 1) * count):
        epoch, place = divmod(position, len(prompts))
        if epoch not in orders:
            generator = torch.Generator().manual_seed(derived_seed(seed, "prompts", epoch))
            orders[epoch] = torch.randperm(len(prompts), generator=generator).tolist()
        chosen.append(prompts[orders[epoch][place]])
    return chosen


def roll_out(
    policy: Policy,
    reward_models: Sequence[RewardModel],
    norm_pack: NormPack,
    prompts: Sequence[Prompt],
    config: PpoConfig,
    max_tokens: int,
    seed: int,
) -> Rollout:
    """One response per prompt, scored by every reward model (the ensemble's mean) and standardised."""
    backbone = policy.backbone
    ids = [backbone.render(prompt.messages) for prompt in prompts]
    with backbone.using(policy.adapter):
        written = generate(backbone, ids, n=1, temperature=config.temperature, max_tokens=max_tokens, seed=seed)
    samples = [
        Sample(
            id=content_id("sample", policy.adapter, prompt.id, seed, index),
            prompt=prompt,
            response=backbone.decode(result.tokens),
            policy_version=policy.adapter,
            finished=result.finished,
            tokens=len(result.tokens),
            logprob=sum(result.logprobs),
            seed=seed,
            stage="ppo",
        )
        for index, (prompt, result) in enumerate(zip(prompts, written, strict=True))
    ]
    conversations = [(sample.prompt, sample.response) for sample in samples]
    scores = torch.stack([model.score(conversations).mean(1) for model in reward_models])
    for model, row in zip(reward_models, scores, strict=True):
        if not torch.isfinite(row).all():
            raise TrainingFailed(f"the reward model of '{model.objective}' gave a score that is not finite")
    z = standardise(scores, torch.tensor(norm_pack.mean), torch.tensor(norm_pack.sd), config.score_clip)
    unfinished = torch.tensor([not result.finished for result in written]).float()
    batch = make_batch(backbone, ids, [result.tokens for result in written])
    return Rollout(samples, batch, scores, z.to(batch.ids.device), unfinished.to(batch.ids.device))


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
