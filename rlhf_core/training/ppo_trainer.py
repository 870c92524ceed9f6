"""The PPO loop: roll out, fix the targets, optimise, yield. Several objectives, one critic stream each."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.models.generation import derived_seed
from rlhf_core.models.policy import Policy
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.ppo_config import PpoConfig
from rlhf_core.records import Prompt, Sample
from rlhf_core.run_records import NormPack, StepMetrics
from rlhf_core.training.objectives import linear_coefficients
from rlhf_core.training.ppo_metrics import step_metrics
from rlhf_core.training.ppo_state import PpoState
from rlhf_core.training.ppo_targets import fix_targets
from rlhf_core.training.ppo_update import update
from rlhf_core.training.rollout import roll_out, step_prompts


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
        values = step_metrics(rollout, targets, updates, stream_weights, state, config)
        state.advance(targets.kl, config)
        values["seconds"] = time.perf_counter() - started
        metrics = StepMetrics(stage="ppo", step=state.step, steps=config.steps, values=values)
        yield PpoStep(metrics, rollout.samples, rollout.scores, state)


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
