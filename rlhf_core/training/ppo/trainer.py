"""The PPO loop: roll out, fix the targets, optimise, yield. Several objectives, one critic stream each."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.scalarization import weights_at
from rlhf_core.constitution.principle import Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.models.policy import Policy
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.reward_models.reward_model import Scorer
from rlhf_core.seeding import derived_seed
from rlhf_core.training.epoch_state import Resumable
from rlhf_core.training.parallel import ALONE, Ranks
from rlhf_core.training.ppo.ahead import Ahead, AheadState, rows_ahead
from rlhf_core.training.ppo.combination import Combination
from rlhf_core.training.ppo.metrics import step_metrics
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.responses import Asked
from rlhf_core.training.ppo.rollout import Rollout, asked_of, roll_out, shuffled, step_prompts, unpaid
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.targets import evaluate_once, fix_targets
from rlhf_core.training.ppo.update import Update, optimise

if TYPE_CHECKING:
    from rlhf_core.inference.remote_sampler import RemoteSampler

Weights = Mapping[str, float] | Callable[[int], Mapping[str, float]]
"""The run's weights, which the dial's schedule changes; or those of each step, counted from 1."""


class PpoStep(NamedTuple):
    """One step's metrics, its samples with their scores (K, B), and the state, to be saved or not."""

    metrics: StepMetrics
    samples: list[Sample]
    scores: Tensor
    state: Resumable


def train_ppo(
    policy: Policy,
    reward_models: Sequence[Scorer],
    norm_pack: NormPack,
    prompts: Sequence[Prompt],
    weights: Weights,
    config: PpoConfig,
    max_tokens: int,
    seed: int,
    checkpoint: Path | None = None,
    replay: Replay | None = None,
    principles: Sequence[Principle] = (),
    ranks: Ranks = ALONE,
    sampler: RemoteSampler | None = None,
) -> Generator[PpoStep | None]:
    """Yield each step when it is done, and None between its parts, so that others can use the device meanwhile.

    With a checkpoint, go on as if never interrupted; several `ranks` share the rows. A stream carries its objective's
    own z and is weighed where advantages are added up, GAE(sum c_k z_k) = sum c_k GAE(z_k): so no critic depends on it.

    With `config.overlap` a `sampler` writes what comes next beside what is done here.
    """
    _check_order(policy, reward_models, norm_pack)
    state = PpoState.begin(policy, config, checkpoint, ranks)
    combination = Combination(norm_pack, config.dial, policy.backbone.device, state.multipliers)

    def chosen(step: int) -> list[Prompt]:
        return step_prompts(prompts, config.prompts_per_step, seed, step, config.even_tags)

    def ask(step: int) -> Asked:
        return asked_of(policy, chosen(step), config, max_tokens, derived_seed(seed, step), ranks)

    def roll(step: int) -> Rollout:
        draws = derived_seed(seed, step)
        given = policy, reward_models, norm_pack, chosen(step), config, max_tokens, draws, principles
        return roll_out(*given, ranks, sampler, step, ahead)

    with rows_ahead(sampler, policy, ask, config, ranks, checkpoint, state.step) as ahead:
        yield from _steps(state, combination, roll, weights, config, seed, replay, ahead)


def _steps(
    state: PpoState,
    combination: Combination,
    roll: Callable[[int], Rollout],
    weights: Weights,
    config: PpoConfig,
    seed: int,
    replay: Replay | None,
    ahead: Ahead | None,
) -> Generator[PpoStep | None]:
    policy, ranks = state.policy, state.optimizer.ranks
    carried = state if ahead is None else AheadState(state, ahead)
    while state.step < config.steps:
        started = time.perf_counter()
        # 1. Rollout: sample from the policy, score every objective, pay it as the dial says.
        dial = weights(state.step + 1) if callable(weights) else weights_at(config.dial, weights, state.step + 1)
        stream_weights = combination.coefficients(dial)
        rollout = combination.pay(roll(state.step), stream_weights)
        rollout = _paid(rollout, config, derived_seed(seed, state.step, "lots"))
        yield None
        # 2. Fix this step's targets: from here they are data, not graph.
        own = evaluate_once(policy, rollout.batch, config, ranks)
        targets = fix_targets(policy, rollout, stream_weights, state.kl_coef, config, own, ranks)
        yield None
        # 3. Optimise the clipped surrogate over shuffled minibatches, until the policy has gone too far.
        order = derived_seed(seed, state.step, "minibatches")
        updates = yield from _taken(optimise(state, rollout.batch, targets, stream_weights, config, order, replay, own))
        # 4. Report, and carry on from what was just learned.
        values = step_metrics(rollout, targets, updates, stream_weights, state, config)
        state.advance(targets.kl, combination.learn(rollout.z), config)
        values |= {"seconds": time.perf_counter() - started}
        yield PpoStep(_metrics(state, values, dial, config), _with_kl(rollout, targets.kl), rollout.scores, carried)


def _taken(updates: Iterator[Update]) -> Generator[None, None, list[Update]]:
    """Take updates one by one, and let others use the device after each."""
    taken: list[Update] = []
    for done in updates:
        taken.append(done)
        yield None
    return taken


def _paid(rollout: Rollout, config: PpoConfig, seed: int) -> Rollout:
    if config.pays == "shuffled":
        return shuffled(rollout, config.samples_per_prompt, seed)
    return rollout if config.pays == "scores" else unpaid(rollout)


def _metrics(state: PpoState, values: dict[str, float], dial: Mapping[str, float], config: PpoConfig) -> StepMetrics:
    values |= {f"weight/{name}": weight for name, weight in dial.items()}
    return StepMetrics(stage="ppo", step=state.step, steps=config.steps, values=values)


def _with_kl(rollout: Rollout, kl: Tensor) -> list[Sample]:
    return [s.model_copy(update={"kl": nats}) for s, nats in zip(rollout.samples, kl.tolist(), strict=True)]


def _check_order(policy: Policy, reward_models: Sequence[Scorer], norm_pack: NormPack) -> None:
    objectives = policy.objectives
    found = {"reward models": tuple(model.objective for model in reward_models), "NormPack": norm_pack.objectives}
    for name, has in found.items():
        if has != objectives:
            raise InvalidInput(f"the {name} are for {', '.join(has)}; the policy's objectives: {', '.join(objectives)}")
