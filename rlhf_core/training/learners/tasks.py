"""A learner process's part in fine-tuning, reward models or PPO: the loops are those of one process."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Protocol

from rlhf_core.config.run import ModelConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.inference.remote_sampler import connect
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.models.policy import TRAINED, Policy
from rlhf_core.models.sharding import shard
from rlhf_core.records.runs import StepMetrics
from rlhf_core.reward_models.reward_model import RewardModel, new_models, save_models
from rlhf_core.training.epoch_state import Keep, Resumable
from rlhf_core.training.learners.job import Answer, Job, PpoTask, RewardTask, SftTask
from rlhf_core.training.parallel import Ranks
from rlhf_core.training.ppo.ptx import Replay
from rlhf_core.training.ppo.trainer import train_ppo
from rlhf_core.training.reward.trainer import train_reward_models
from rlhf_core.training.sft import train_sft


class Learning(Protocol):
    """A training that is done step by step. All processes call the same methods in the same order."""

    def step(self, weights: dict[str, float]) -> Answer:
        """Learn until the next step is done."""
        ...

    def save(self, folder: Path) -> None:
        """Write all that is needed to go on after the last step."""
        ...

    def write(self, folder: Path) -> None:
        """Write what was learned so far."""
        ...


def begin(job: Job, model: ModelConfig, ranks: Ranks) -> Learning:
    """Load the models of a job and begin, or go on from its checkpoint. Raises InvalidInput."""
    backbone = Backbone.load(job.path, model)
    if isinstance(job.task, PpoTask):
        return PpoLearning(job, job.task, backbone, Bases(backbone, model), ranks)
    if isinstance(job.task, SftTask):
        return sft_learning(job, job.task, backbone, ranks)
    return reward_learning(job, job.task, Bases(backbone, model), ranks)


class PpoLearning:
    """PPO; the weights of a step are those that it is asked for with."""

    def __init__(self, job: Job, task: PpoTask, backbone: Backbone, bases: Bases, ranks: Ranks):
        names, dense = task.norm_pack.objectives, task.config.tune == "full"
        self._policy = Policy.starting_from(backbone, task.policy, names, dense)
        self._ranks, self._weights = ranks, dict[str, float]()
        self._divided = job.learner.strategy == "shard"
        self._state: Resumable | None = None
        folders = [*dict.fromkeys(saved.folder for saved in task.reward_models)]
        models = [
            RewardModel.load(
                bases.of(saved.base), f"reward-{folders.index(saved.folder)}", saved.folder, saved.objective
            )
            for saved in task.reward_models
        ]
        if self._divided:
            shard(backbone, TRAINED)
        served = job.model.sampler
        self._steps = train_ppo(
            self._policy,
            models,
            task.norm_pack,
            task.prompts,
            lambda _: self._weights,
            task.config,
            task.max_tokens,
            job.seed,
            job.checkpoint,
            Replay.begin(backbone, task.replay, task.config, job.seed),
            task.principles,
            ranks,
            connect(served, backbone, task.sampled_in) if served.address else None,
        )

    def step(self, weights: dict[str, float]) -> Answer:
        """Roll out, score, learn."""
        self._weights = weights
        done = next(filter(None, self._steps), None)
        if done is None:
            return Answer()
        self._state = done.state
        scores = tuple(tuple(row) for row in done.scores.tolist())
        return Answer(metrics=done.metrics, samples=tuple(done.samples), scores=scores)

    def save(self, folder: Path) -> None:
        """Write a checkpoint of PPO."""
        assert self._state is not None
        if self._ranks.is_first or self._divided:
            self._state.save(folder)

    def write(self, folder: Path) -> None:
        """Write the policy's adapter."""
        save = partial(self._policy.backbone.adapters.save, self._policy.adapter)
        by_first(save, folder, self._ranks, self._divided)


class EpochLearning:
    """Training by epochs, an update at a time."""

    def __init__(
        self,
        train: Callable[[Keep], Iterator[StepMetrics]],
        write: Callable[[Path], None],
        ranks: Ranks,
        divided: bool,
    ):
        """`train` is told what to do with the state after each update."""
        self._updates, self._write, self._ranks, self._divided = train(self._keep), write, ranks, divided
        self._state: Resumable | None = None

    def _keep(self, state: Resumable) -> None:
        self._state = state

    def step(self, weights: dict[str, float]) -> Answer:
        """Take an update; after the last one, end the training."""
        return Answer(metrics=next(self._updates, None))

    def save(self, folder: Path) -> None:
        """Write a snapshot of training by epochs."""
        assert self._state is not None
        by_first(self._state.save, folder, self._ranks, self._divided)

    def write(self, folder: Path) -> None:
        """Write the adapter, and heads where there are any."""
        by_first(self._write, folder, self._ranks, self._divided)


def by_first(write: Callable[[Path], None], folder: Path, ranks: Ranks, divided: bool) -> None:
    """Let the first process write what all have; where weights are divided all take part, to make them whole."""
    if ranks.is_first:
        write(folder)
    elif divided:
        with tempfile.TemporaryDirectory() as nowhere:
            write(Path(nowhere))


def sft_learning(job: Job, task: SftTask, backbone: Backbone, ranks: Ranks) -> EpochLearning:
    """Fine-tune a new adapter, or all weights."""
    backbone.adapters.begin(TRAINED, job.seed, task.config.tune)
    divided = job.learner.strategy == "shard"
    if divided:
        shard(backbone, TRAINED)
    return EpochLearning(
        lambda keep: train_sft(
            backbone, TRAINED, task.demonstrations, task.config, job.seed, job.checkpoint, keep, ranks, task.texts
        ),
        lambda folder: backbone.adapters.save(TRAINED, folder),
        ranks,
        divided,
    )


def reward_learning(job: Job, task: RewardTask, bases: Bases, ranks: Ranks) -> EpochLearning:
    """Train new reward models of one trunk."""
    base = bases.of(task.config.base_model)
    models = new_models(base, TRAINED, task.objectives, task.config, task.reference_tokens, job.seed)
    divided = job.learner.strategy == "shard"
    if divided and not isinstance(base, Backbone):
        told = f"learner.strategy is 'shard' and '{base.name}' is an encoder, whose layers are not divided"
        raise InvalidInput(f"{told}; allowed with it: replicate", "learner.strategy")
    if divided and isinstance(base, Backbone):
        shard(base, TRAINED)
    labels, stop_on = ([[one.label for one in own] for own in given] for given in (task.labels, task.stop_on))
    return EpochLearning(
        lambda keep: train_reward_models(models, labels, task.config, job.seed, stop_on, job.checkpoint, keep, ranks),
        lambda folder: save_models(models, folder),
        ranks,
        divided,
    )
