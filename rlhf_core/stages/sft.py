"""The stage of supervised fine-tuning."""

from __future__ import annotations

from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.demonstrations import demonstrations_of
from rlhf_core.stages.versions import fresh_adapter, publish_policy
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
    ctx.tools.on_device(lambda: backbone.adapters.delete(adapter))
    return StageResult(
        run_id=ctx.run.id,
        stage="sft",
        policy_version=version.id,
        counts=counts,
        numbers={"loss": loss},
        seconds=timer.seconds,
    )
