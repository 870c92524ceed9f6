"""The stage of supervised fine-tuning."""

from __future__ import annotations

from contextlib import closing
from functools import partial

from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.demonstrations import demonstrations_of
from rlhf_core.stages.elsewhere.learners import epochs_by_learners
from rlhf_core.stages.told_steps import told_steps
from rlhf_core.stages.versions import EpochCheckpoints, publish_policy
from rlhf_core.training.learners.job import SftTask
from rlhf_core.training.sft import train_sft


def sft_stage(ctx: Context) -> StageResult:
    """Fine-tune on answers that passed the critic, a share of the base's own, and the user's own.

    Resumes from its last checkpoint.
    """
    timer = Timer()
    backbone, adapter = ctx.tools.backbone, "sft"
    demonstrations, counts = demonstrations_of(ctx)
    checkpoints = EpochCheckpoints(ctx, "sft", demonstrations)
    settings, seed, saved, keep = ctx.config.sft, ctx.config.seed, checkpoints.latest(), checkpoints.keep
    ctx.tools.on_device(lambda: backbone.adapters.begin(adapter, seed, settings.tune))
    if ctx.learner.processes > 1:
        task = SftTask(demonstrations=tuple(demonstrations), config=settings)
        take = partial(backbone.adapters.take, adapter)
        steps = epochs_by_learners(ctx, "sft", task, seed, saved, keep, take)
    else:
        steps = ctx.units(train_sft(backbone, adapter, demonstrations, settings, seed, saved, keep))
    # Those of before too: where all updates are behind the checkpoint, none is left.
    losses = [step.values["loss"] for step in told_steps(ctx.store, ctx.run.id) if step.stage == "sft"]
    with closing(steps):
        for metrics in steps:
            losses.append(metrics.values["loss"])
            ctx.progress("sft", metrics.step, metrics.steps, checkpoints.store, **metrics.values)
    version = publish_policy(ctx, "sft", adapter, BASE_POLICY, settings.epochs)
    ctx.tools.on_device(lambda: backbone.adapters.delete(adapter))
    return StageResult(
        run_id=ctx.run.id,
        stage="sft",
        policy_version=version.id,
        counts=counts,
        numbers={"loss": losses[-1]},
        seconds=timer.seconds,
    )
