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
from rlhf_core.training.rehearsal import base_texts
from rlhf_core.training.sft import train_sft


def sft_stage(ctx: Context) -> StageResult:
    """Fine-tune on answers that passed the critic, a share of the base's own, and the user's own.

    Resumes from its last checkpoint.
    """
    timer = Timer()
    backbone, adapter = ctx.tools.backbone, "sft"
    demonstrations, counts = demonstrations_of(ctx)
    texts = _rehearsed(ctx)
    checkpoints = EpochCheckpoints(ctx, "sft", [*demonstrations, *texts])
    settings, seed, saved, keep = ctx.config.sft, ctx.config.seed, checkpoints.latest(), checkpoints.keep
    ctx.tools.on_device(lambda: backbone.adapters.begin(adapter, seed, settings.tune))
    if ctx.learner.processes > 1:
        task = SftTask(demonstrations=tuple(demonstrations), config=settings, texts=texts)
        take = partial(backbone.adapters.take, adapter)
        steps = epochs_by_learners(ctx, "sft", task, seed, saved, keep, take)
    else:
        steps = ctx.units(train_sft(backbone, adapter, demonstrations, settings, seed, saved, keep, texts=texts))
    # Those of before too: where all updates are behind the checkpoint, none is left.
    told = (step.values for step in told_steps(ctx.store, ctx.run.id) if step.stage == "sft")
    losses = [values["loss"] for values in told if "loss" in values]
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


def _rehearsed(ctx: Context) -> tuple[tuple[int, ...], ...]:
    """Texts of the base, written anew in each attempt, where fine-tuning rehearses any."""
    settings, backbone = ctx.config.sft, ctx.tools.backbone
    if not settings.rehearsal_coef:
        return ()
    texts: list[tuple[int, ...]] = []
    with closing(ctx.units(base_texts(backbone, settings, ctx.config.seed, ctx.should_stop))) as parts:
        for part in parts:
            texts += part
            ctx.progress("sft", 0, len(texts), written=len(texts))
    return tuple(texts)
