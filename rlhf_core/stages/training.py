"""Supervised fine-tuning, and how a policy that was trained becomes a version."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rlhf_core.records import BASE_POLICY, content_id
from rlhf_core.run_records import PolicyVersion, Stage, StageResult
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.demonstrations import demonstrations_of
from rlhf_core.training.sft import train_sft


def sft_stage(ctx: Context) -> StageResult:
    """Fine-tune a fresh adapter on answers that passed the critic, a share of the base's own, and the user's own."""
    timer = Timer()
    backbone, adapter = ctx.tools.backbone, "sft"
    demonstrations, counts = demonstrations_of(ctx)
    ctx.tools.on_device(lambda: fresh_adapter(ctx, adapter, ctx.config.seed))
    steps = train_sft(backbone, adapter, demonstrations, ctx.config.sft, ctx.config.seed)
    loss = 0.0
    for metrics in ctx.units(steps):
        loss = metrics.values["loss"]
        ctx.progress("sft", metrics.step, metrics.steps, **metrics.values)
    version = publish_policy(ctx, "sft", adapter, BASE_POLICY, ctx.config.sft.epochs)
    ctx.tools.on_device(lambda: backbone.delete_adapter(adapter))
    return StageResult(
        run_id=ctx.run.id,
        stage="sft",
        policy_version=version.id,
        counts=counts,
        numbers={"loss": loss},
        seconds=timer.seconds,
    )


def publish_policy(
    ctx: Context, stage: Stage, adapter: str, parent: str, step: int, ungated: bool = False
) -> PolicyVersion:
    """Save the adapter as an artifact and record it as a policy version."""
    with tempfile.TemporaryDirectory() as folder:
        ctx.tools.on_device(lambda: ctx.tools.backbone.save_adapter(adapter, Path(folder)))
        digest = ctx.store.artifacts.put_folder(Path(folder))
    version = PolicyVersion(
        id=content_id("policy", ctx.run.id, stage, digest),
        run_id=ctx.run.id,
        stage=stage,
        parent=parent,
        base_model=ctx.tools.backbone.name,
        artifact=digest,
        step=step,
        ungated=ungated,
    )
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.add_policy_version(version)
    return version


def fresh_adapter(ctx: Context, adapter: str, seed: int) -> None:
    """A new adapter; what an attempt that failed in this process left under the name is dropped."""
    if adapter in ctx.tools.backbone.adapters:
        ctx.tools.backbone.delete_adapter(adapter)
    ctx.tools.backbone.add_adapter(adapter, seed)
