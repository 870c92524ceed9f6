"""Supervised fine-tuning, and how a policy that was trained becomes a version."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from rlhf_core.data import load_demonstrations
from rlhf_core.records import BASE_POLICY, Demonstration, Revision, Sample, content_id
from rlhf_core.run_records import PolicyVersion, Stage, StageResult
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.prompts import draw
from rlhf_core.training.sft import train_sft


def sft_stage(ctx: Context) -> StageResult:
    """Fine-tune a fresh adapter on accepted revisions, a share of answers that had no fault, and the user's own."""
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


def demonstrations_of(ctx: Context) -> tuple[list[Demonstration], dict[str, int]]:
    """What supervised fine-tuning learns from, and how much of it is of which kind."""
    path = ctx.config.data.demonstrations
    own = load_demonstrations(path) if path else []
    answered = ctx.results.get("critique") if own else ctx.need("critique")
    if answered is None:
        return own, {"user": len(own)}
    revised, faultless, counts = _answers(ctx, answered.run_id)
    share = ctx.config.sft.helpful_share
    room = round(len(revised) * share / (1 - share)) if revised else len(faultless)
    helpful = draw([sample.prompt for sample in faultless], min(room, len(faultless)), ctx.config.seed, "sft")
    answers = {sample.prompt.id: sample.response for sample in faultless}
    mix = [Demonstration(prompt=prompt, response=answers[prompt.id], source="helpful") for prompt in helpful]
    return [*revised, *mix, *own], {**counts, "helpful_mix": len(mix), "user": len(own)}


def _answers(ctx: Context, run_id: str) -> tuple[list[Demonstration], list[Sample], dict[str, int]]:
    """Answers as revised, answers in which no critique found a fault, and how many of each kind there are.

    An answer at fault that no accepted revision mended is nobody's example.
    """
    steps: dict[str, list[Revision]] = defaultdict(list)
    for step in sorted(ctx.store.revisions(run_id), key=lambda step: step.round):
        steps[step.sample_id].append(step)
    revised, faultless, faulty = [], [], 0
    for sample in ctx.store.samples(run_id, stage="critique"):
        accepted = [step for step in steps[sample.id] if step.accepted]
        if accepted:
            revised.append(Demonstration(prompt=sample.prompt, response=accepted[-1].after, source="revision"))
        elif all(step.critique.verdict == "complies" for step in steps[sample.id]):
            faultless.append(sample)
        else:
            faulty += 1
    return revised, faultless, {"revised": len(revised), "faultless": len(faultless), "left_at_fault": faulty}


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
