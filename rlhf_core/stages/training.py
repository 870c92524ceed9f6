"""The stages that train: supervised fine-tuning, one reward model per objective, and PPO."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Literal

from rlhf_core.data import load_demonstrations, load_preferences
from rlhf_core.errors import TrainingFailed
from rlhf_core.feedback.votes import probability_of
from rlhf_core.models.reward_model import RewardModel
from rlhf_core.records import BASE_POLICY, Comparison, Demonstration, Preference, Prompt, content_id
from rlhf_core.run_records import PolicyVersion, RewardModelVersion, Stage, StageResult
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.prompts import draw
from rlhf_core.training.reward_training import LabelledPair, pairwise_accuracy, train_reward_model
from rlhf_core.training.sft import train_sft


def sft_stage(ctx: Context) -> StageResult:
    """Fine-tune a fresh adapter on accepted revisions, a share of plain helpful answers, and the user's own."""
    timer = Timer()
    backbone, adapter = ctx.tools.backbone, "sft"
    demonstrations, counts = _demonstrations(ctx)
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


def _demonstrations(ctx: Context) -> tuple[list[Demonstration], dict[str, int]]:
    path = ctx.config.data.demonstrations
    own = load_demonstrations(path) if path else []
    answered = ctx.results.get("critique") if own else ctx.need("critique")
    if answered is None:
        return own, {"user": len(own)}
    source = answered.run_id
    samples = ctx.store.samples(source, stage="critique")
    final = {sample.id: sample.response for sample in samples}
    for step in sorted(ctx.store.revisions(source), key=lambda step: step.round):
        if step.accepted:
            final[step.sample_id] = step.after
    revised = [Demonstration(prompt=s.prompt, response=final[s.id], source="revision") for s in samples]
    share = ctx.config.sft.helpful_share
    helpful = draw([s.prompt for s in samples], round(len(samples) * share / (1 - share)), ctx.config.seed, "sft")
    answers = {sample.prompt.id: sample.response for sample in samples}
    mix = [Demonstration(prompt=p, response=answers[p.id], source="helpful") for p in helpful]
    counts = {
        "revised": sum(final[s.id] != s.response for s in samples),
        "unrevised": sum(final[s.id] == s.response for s in samples),
        "helpful_mix": len(mix),
        "user": len(own),
    }
    return [*revised, *mix, *own], counts


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


def reward_stage(ctx: Context) -> StageResult:
    """Train one reward model per objective on the AI's labels, joined by every human label on that objective."""
    timer = Timer()
    models: dict[str, str] = {}
    numbers: dict[str, float] = {}
    stored = {model.objective: model for model in ctx.store.reward_models(ctx.run.id)}
    for index, objective in enumerate(ctx.constitution.objective_names):
        version = stored.get(objective) or _train_one(ctx, objective, index)
        models[objective] = version.id
        numbers |= {f"accuracy.{objective}": version.accuracy, f"accuracy_n.{objective}": float(version.accuracy_n)}
    return StageResult(run_id=ctx.run.id, stage="reward", reward_models=models, numbers=numbers, seconds=timer.seconds)


def _train_one(ctx: Context, objective: str, index: int) -> RewardModelVersion:
    settings, backbone = ctx.config.reward, ctx.tools.backbone
    pairs, ungated = labelled_pairs(ctx, objective), any(label.ungated for label in ai_labels(ctx, objective))
    if ungated and not ctx.config.gate.allow_ungated:
        raise TrainingFailed(
            f"the judge had not passed its gate when it labelled '{objective}', so nothing is trained on that; label "
            "again once it does, or train all the same with --allow-ungated"
        )
    train = [pair for pair in pairs if not kept_back(pair.prompt, settings.heldout_share)]
    heldout = [pair for pair in pairs if kept_back(pair.prompt, settings.heldout_share)]
    if not train:
        raise TrainingFailed(f"objective '{objective}' has no usable preference; the judge abstained on all pairs")
    adapter, seed, objectives = (
        f"reward-{ctx.run.id}-{index}",
        ctx.config.seed + index,
        ctx.constitution.objective_names,
    )
    model = ctx.tools.on_device(lambda: _fresh_model(ctx, adapter, objective, seed))
    for metrics in ctx.units(train_reward_model(model, train, settings, seed)):
        done, total = index * metrics.steps + metrics.step, metrics.steps * len(objectives)
        named = {f"{name}.{objective}": value for name, value in metrics.values.items()}
        ctx.progress("reward", done, total, **named)
    accuracy, n = ctx.tools.on_device(lambda: pairwise_accuracy(model, heldout))
    with tempfile.TemporaryDirectory() as folder:
        ctx.tools.on_device(lambda: model.save(Path(folder)))
        digest = ctx.store.artifacts.put_folder(Path(folder))
    ctx.tools.on_device(lambda: backbone.delete_adapter(adapter))
    version = RewardModelVersion(
        id=content_id("reward", ctx.run.id, objective, digest),
        run_id=ctx.run.id,
        objective=objective,
        base_model=backbone.name,
        artifact=digest,
        constitution_hash=ctx.constitution.hash,
        pairs=len(train),
        human_pairs=sum(pair.source == "human" for pair in train),
        accuracy=accuracy,
        accuracy_n=n,
        ungated=ungated,
    )
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.add_reward_model(version)
    return version


def _fresh_model(ctx: Context, adapter: str, objective: str, seed: int) -> RewardModel:
    fresh_adapter(ctx, adapter, seed)
    return RewardModel(ctx.tools.backbone, adapter, objective, ctx.config.reward.members, seed)


def fresh_adapter(ctx: Context, adapter: str, seed: int) -> None:
    """A new adapter; what an attempt that failed in this process left under the name is dropped."""
    if adapter in ctx.tools.backbone.adapters:
        ctx.tools.backbone.delete_adapter(adapter)
    ctx.tools.backbone.add_adapter(adapter, seed)


def labelled_pairs(ctx: Context, objective: str) -> list[LabelledPair]:
    """The objective's labels as training pairs: AI labels of this run, all human labels, the user's own file."""
    data, weight = ctx.config.data, ctx.config.reward.human_weight
    own = load_preferences(data.preferences) if _has_own(ctx, objective) and data.preferences else []
    ai = ai_labels(ctx, objective)
    human = [p for p in ctx.store.preferences(objective, labelers="human") if p.choice != "skip"]
    return [
        *(_pair(ctx.store.comparison(p.comparison_id), p.probability, p.weight, "ai") for p in ai),
        *(
            _pair(ctx.store.comparison(p.comparison_id), probability_of(p.choice), p.weight * weight, "human")
            for p in human
        ),
        *(_pair(pair, 1.0, weight, "data") for pair in own),
    ]


def ai_labels(ctx: Context, objective: str) -> list[Preference]:
    """The labels of this run's label stage that train; only the user's own preferences can do without any."""
    labelled = ctx.results.get("label") if _has_own(ctx, objective) else ctx.need("label")
    stored = ctx.store.preferences(objective, run_id=labelled.run_id, labelers="ai") if labelled else []
    return [label for label in stored if not label.abstained]


def _has_own(ctx: Context, objective: str) -> bool:
    return ctx.config.data.preferences is not None and ctx.config.data.preferences_objective == objective


def _pair(pair: Comparison, probability: float, weight: float, source: Literal["ai", "human", "data"]) -> LabelledPair:
    return LabelledPair(pair.prompt, pair.a.response, pair.b.response, probability, weight, source)


def kept_back(prompt: Prompt, share: float) -> bool:
    """Whether the prompt's pairs measure the reward model; by prompt, so that none is on both sides."""
    return int(hashlib.sha256(prompt.id.encode()).hexdigest()[:8], 16) / 2**32 < share
