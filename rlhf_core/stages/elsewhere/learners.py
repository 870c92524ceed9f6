"""Stages whose training is done by several processes: what those are given, and how it comes back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

import torch
from pydantic import ValidationError

from rlhf_core.config.learner import PROCESSES
from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import Interrupted, InvalidInput, TrainingFailed
from rlhf_core.inference.remote_sampler import connect
from rlhf_core.models.policy import Policy
from rlhf_core.records.base import STAGES, Stage
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Demonstration
from rlhf_core.stages.context import Context
from rlhf_core.stages.elsewhere.remote_samples import handed_over
from rlhf_core.stages.imported.own_rows import PPO
from rlhf_core.stages.prompts import ppo_prompts
from rlhf_core.training.epoch_state import Keep
from rlhf_core.training.learners.job import Job, PpoTask, RewardTask, SavedRewardModel, SftTask
from rlhf_core.training.learners.launch import Learners, LearnersLost
from rlhf_core.training.ppo.state import PpoState
from rlhf_core.training.ppo.trainer import PpoStep

FOLDER = "learner"
"""In a run's folder: the logs of its learner processes."""


def check_learners(ctx: Context, stages: Collection[Stage]) -> None:
    """Refuse learners that the environment asks for and that the run cannot have, before any stage begins.

    What the run asks for itself was refused as it was made. Raises: InvalidInput.
    """
    if {"sft", "reward", *PPO}.isdisjoint(stages):
        return
    learner = ctx.learner
    if learner == ctx.config.learner or PPO.isdisjoint(stages):
        return
    asked = ctx.config.model_copy(update={"learner": learner})
    try:
        RunConfig.model_validate_json(asked.model_dump_json())
    except ValidationError as error:
        told = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InvalidInput(f"{PROCESSES} is {learner.processes}: {told}", "learner.processes") from None


class LearnersState(NamedTuple):
    """What learner processes carry from one step to the next; they write it themselves."""

    learners: Learners
    step: int

    @property
    def update(self) -> int:
        """Of training by epochs, where each step is an update."""
        return self.step

    def save(self, folder: Path) -> None:
        """Write a checkpoint."""
        self.learners.save(folder)


def ppo_by_learners(
    ctx: Context,
    stage: Stage,
    policy: Policy,
    pack: NormPack,
    weights: Callable[[int], Mapping[str, float]],
    config: PpoConfig,
    checkpoint: Path | None,
    done: int,
    replay: Sequence[Demonstration],
) -> Generator[PpoStep]:
    """Do PPO from step `done` on; the policy here follows that of the processes, to be looked at and published."""
    if checkpoint is not None:
        ctx.tools.on_device(lambda: PpoState.begin(policy, config, checkpoint))
    if done >= config.steps:
        return
    version = ctx.store.policy_versions.get(ctx.need("sft").policy_version)
    task = PpoTask(
        policy=ctx.store.artifacts.get_folder(version.artifact),
        reward_models=tuple(_saved(ctx, name, model) for name, model in _models_of(pack)),
        norm_pack=pack,
        prompts=tuple(ppo_prompts(ctx)),
        replay=tuple(replay),
        principles=tuple(ctx.constitution.principles),
        config=config,
        max_tokens=ctx.config.model.max_tokens,
        sampled_in=handed_over(ctx, stage),
    )
    with _forgotten(ctx, task.sampled_in), _at_work(ctx, stage, task, ctx.config.seed, checkpoint) as found:
        for number in range(done + 1, config.steps + 1):
            answer = found.step(weights(number))
            assert answer.metrics is not None
            _take(ctx, found, lambda folder: policy.backbone.adapters.take(policy.adapter, folder))
            scores = torch.tensor(answer.scores)
            yield PpoStep(answer.metrics, list(answer.samples), scores, LearnersState(found, number))


def _forgotten(ctx: Context, folder: Path) -> AbstractContextManager[object]:
    """A block after which the server that learner processes are sampled by forgets what they gave it.

    They themselves may have been killed.
    """
    served = ctx.config.model.sampler
    return closing(connect(served, ctx.tools.backbone, folder)) if served.address else nullcontext()


def epochs_by_learners(
    ctx: Context,
    stage: Stage,
    task: SftTask | RewardTask,
    seed: int,
    checkpoint: Path | None,
    keep: Keep,
    take: Callable[[Path], None],
) -> Generator[StepMetrics]:
    """Train by epochs, an update at a time; at its end `take` is given the folder of what was learned."""
    with _at_work(ctx, stage, task, seed, checkpoint) as found:
        while (metrics := found.step().metrics) is not None:
            keep(LearnersState(found, metrics.step))
            yield metrics
        _take(ctx, found, take)


def _take(ctx: Context, found: Learners, take: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        found.write(Path(folder))
        ctx.tools.on_device(lambda: take(Path(folder)))


@contextmanager
def _at_work(
    ctx: Context, stage: Stage, task: PpoTask | SftTask | RewardTask, seed: int, checkpoint: Path | None
) -> Iterator[Learners]:
    """The processes of one job. Where one dies the run goes back to the queue, if it came further than before."""
    job = Job(
        path=ctx.tools.backbone.path,
        model=ctx.config.model,
        learner=ctx.learner,
        seed=seed,
        folder=ctx.tools.runs_folder / ctx.run.id / FOLDER,
        checkpoint=checkpoint,
        task=task,
    )
    try:
        with ctx.tools.learning(job, ctx.should_stop) as found:
            yield found
    except LearnersLost as error:
        if not _came_further(ctx):
            hint = "`charter resume` goes on from the last checkpoint"
            raise TrainingFailed(str(error), hint=hint) from error
        ctx.note(f"{stage}: {error}; the run goes on from its last checkpoint")
        raise Interrupted(str(error)) from error


def _came_further(ctx: Context) -> bool:
    """Whether this attempt is behind a step that no attempt before has done."""

    def place(stage: str, step: int) -> tuple[int, int]:
        return (STAGES.index(stage) if stage in STAGES else -1), step

    now = ctx.store.runs.get(ctx.run.id)
    return place(now.stage, now.step) > place(ctx.run.stage, ctx.run.step)


def _models_of(pack: NormPack) -> Iterator[tuple[str, str]]:
    return zip(pack.objectives, pack.reward_models, strict=True)


def _saved(ctx: Context, objective: str, version_id: str) -> SavedRewardModel:
    version = ctx.store.reward_models.get(version_id)
    folder = ctx.store.artifacts.get_folder(version.artifact)
    return SavedRewardModel(objective=objective, folder=folder, base=version.base_model)
