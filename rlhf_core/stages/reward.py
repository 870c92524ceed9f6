"""The stage that trains reward models, one per objective, on the labels of the AI, of people and of files."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from rlhf_core.config.run import RewardConfig
from rlhf_core.data.reward_examples import Label, LabelledPair, Rating, StepLabels, pairs_of
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.evaluation.reward_quality import Judged, JudgedPair, JudgedRating, JudgedSteps, measure_quality
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.base import content_id
from rlhf_core.records.models import RewardModelVersion, RewardQuality
from rlhf_core.records.runs import StageResult, StepMetrics
from rlhf_core.reward_models.reward_model import RewardModel, new_models, save_models, score_all
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.elsewhere.learners import epochs_by_learners
from rlhf_core.stages.labelling.information import store_information
from rlhf_core.stages.reward_data import Found, kept_back, labels_of
from rlhf_core.stages.versions import EpochCheckpoints, artifact_of
from rlhf_core.training.learners.job import NamedLabel, RewardTask
from rlhf_core.training.reward.trainer import by_replies, train_reward_models, training_steps

AUDITOR_SEED = 104729
"""Sets an auditor's seeds apart from those of the models that it checks."""


class Lot(NamedTuple):
    """One objective's labels, split by prompt: to train on, to stop on, to measure by."""

    objective: str
    train: list[Label]
    stop: list[Label]
    heldout: list[Label]
    ungated: bool
    auditor: bool
    """Whether the model is an auditor: no policy is trained against it, and it learns from labels of its own."""


def reward_stage(ctx: Context) -> StageResult:
    """Train the reward models that are not there yet; those of one trunk train together.

    Resumes from its last checkpoint, and behind the models that are stored: what is said of pairs comes after them.
    """
    timer, names, settings = Timer(), ctx.constitution.objective_names, ctx.config.reward
    roles = (False, True) if settings.auditor_share else (False,)
    stored = {(model.objective, model.auditor): model for model in ctx.store.reward_models.find(ctx.run.id)}
    found = {name: labels_of(ctx, name) for name in names}
    together = [[_lot(ctx, name, found[name], role) for name in names] for role in roles]
    groups = together if settings.layout == "trunk" else [[lot] for lots in together for lot in lots]
    total = sum(training_steps(_size(group, settings), settings) for group in groups)
    done = 0
    for group in groups:
        if any((lot.objective, lot.auditor) not in stored for lot in group):
            for model in train_lots(ctx, group, done, total):
                stored[model.objective, model.auditor] = model
        done += training_steps(_size(group, settings), settings)
    models = {name: stored[name, False] for name in names}
    store_information(ctx, {name: model.id for name, model in models.items()})
    auditors = {name: stored[name, True] for name in names if True in roles}
    numbers = {f"accuracy.{name}": model.accuracy for name, model in models.items() if model.accuracy_n}
    numbers |= {f"accuracy_n.{name}": float(model.accuracy_n) for name, model in models.items()}
    numbers |= {f"auditor_accuracy.{name}": model.accuracy for name, model in auditors.items() if model.accuracy_n}
    return StageResult(
        run_id=ctx.run.id,
        stage="reward",
        reward_models={name: model.id for name, model in models.items()},
        auditors={name: model.id for name, model in auditors.items()},
        counts={f"left_out_heldout.{name}": labels.left_out for name, labels in found.items() if labels.left_out},
        numbers=numbers,
        seconds=timer.seconds,
    )


def _lot(ctx: Context, objective: str, result: Found, auditor: bool) -> Lot:
    settings = ctx.config.reward
    if result.ungated and not ctx.config.gate.allow_ungated:
        raise TrainingFailed(
            f"the judge had not passed its gate when it labelled '{objective}', so nothing is trained on that; label "
            "again once it does, or train all the same with gate.allow_ungated=true"
        )
    lot = Lot(objective, [], [], [], result.ungated, auditor)
    for label in (*result.labels, *result.graded):
        if kept_back(label.prompt, settings.heldout_share):
            lot.heldout.append(label)
        elif result.graded and isinstance(label, LabelledPair) and label.source == "ai":
            continue
        elif kept_back(label.prompt, settings.auditor_share, "audit") == auditor:
            (lot.stop if kept_back(label.prompt, settings.stop_share, "stop") else lot.train).append(label)
    if not result.labels and not result.graded:
        raise TrainingFailed(f"objective '{objective}' has no usable preference; the judge abstained on all pairs")
    if not lot.train:
        kept = f"{len(lot.heldout)} are held out and the others are there to stop on or to audit by"
        raise TrainingFailed(f"objective '{objective}' has no label to train on: of {len(result.labels)}, {kept}")
    return lot


def _size(lots: Sequence[Lot], settings: RewardConfig) -> int:
    """How many examples models of one adapter train on."""
    lines = [settings.reads_lines(lot.objective) for lot in lots]
    keys = [[(by, one.prompt.id, one.replies) for one in lot.train] for by, lot in zip(lines, lots, strict=True)]
    return len(by_replies(keys, [lot.train for lot in lots]))


def train_lots(ctx: Context, lots: Sequence[Lot], done: int, total: int) -> Iterator[RewardModelVersion]:
    """Train models of one adapter, `done` steps of the stage's `total` being behind it, and record their versions."""
    index = ctx.constitution.objective_names.index(lots[0].objective)
    role = "auditor" if lots[0].auditor else "reward"
    adapter, seed = f"{role}-{ctx.run.id}-{index}", ctx.config.seed + index + AUDITOR_SEED * lots[0].auditor
    models = ctx.tools.on_device(lambda: _fresh_models(ctx, adapter, lots, seed))
    labels, stop = [lot.train for lot in lots], [lot.stop for lot in lots]
    stop_on, checkpoints = stop if any(stop) else [], EpochCheckpoints(ctx, "reward", [labels, stop], done)
    with closing(_updates(ctx, models, labels, seed, stop_on, checkpoints)) as updates:
        for metrics in updates:
            suffix = (f".{lots[0].objective}" if len(lots) == 1 else "") + (".auditor" if lots[0].auditor else "")
            named = {f"{name}{suffix}": value for name, value in metrics.values.items()}
            ctx.progress("reward", done + metrics.step, total, checkpoints.store, **named)
    digest = artifact_of(ctx, lambda folder: ctx.tools.on_device(lambda: save_models(models, folder)))
    versions = [_version(ctx, model, lot, digest) for model, lot in zip(models, lots, strict=True)]
    ctx.tools.on_device(lambda: models[0].backbone.adapters.delete(adapter))
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        for version in versions:
            ctx.store.reward_models.add(version)
    yield from versions


def _updates(
    ctx: Context,
    models: list[RewardModel],
    labels: Sequence[Sequence[Label]],
    seed: int,
    stop_on: Sequence[Sequence[Label]],
    checkpoints: EpochCheckpoints,
) -> Generator[StepMetrics]:
    """Train the models, here or by learner processes, from the last checkpoint on."""
    settings, saved = ctx.config.reward, checkpoints.latest()
    if ctx.learner.processes == 1:
        yield from ctx.units(train_reward_models(models, labels, settings, seed, stop_on, saved, checkpoints.keep))
        return
    named = [tuple(tuple(map(NamedLabel.of, own)) for own in given) for given in (labels, stop_on)]
    task = RewardTask(
        objectives=tuple(model.objective for model in models),
        labels=named[0],
        stop_on=named[1],
        config=settings,
        reference_tokens=models[0].scoring.reference_tokens,
    )
    base, adapter = models[0].backbone, models[0].adapter

    def take(folder: Path) -> None:
        base.adapters.take(adapter, folder)
        models[:] = [RewardModel.load(base, adapter, folder, model.objective) for model in models]

    yield from epochs_by_learners(ctx, "reward", task, seed, saved, checkpoints.keep, take)


def _version(ctx: Context, model: RewardModel, lot: Lot, digest: str) -> RewardModelVersion:
    quality = measure_quality(ctx.tools.on_device(lambda: judge_labels(model, lot.heldout)))
    every = next(iter(quality), RewardQuality(source="all"))
    return RewardModelVersion(
        id=content_id("reward", ctx.run.id, lot.objective, digest),
        run_id=ctx.run.id,
        objective=lot.objective,
        base_model=model.backbone.name,
        artifact=digest,
        constitution_hash=ctx.constitution.hash,
        pairs=len(lot.train),
        human_pairs=sum(label.source == "human" for label in lot.train),
        data_pairs=sum(label.source == "data" for label in lot.train),
        accuracy=0.5 if every.accuracy is None else every.accuracy,
        accuracy_n=every.pairs,
        ungated=lot.ungated,
        auditor=lot.auditor,
        quality=quality,
    )


def judge_labels(model: RewardModel, labels: Sequence[Label]) -> list[Judged]:
    """Score the replies of labels with the model, beside what the labels say; a ranking counts by its pairs."""
    pairs = [pair for label in labels for pair in pairs_of(label)]
    rated = [label for label in labels if isinstance(label, Rating)]
    stepped = [label for label in labels if isinstance(label, StepLabels)]
    replies = [(pair.prompt, reply) for pair in pairs for reply in pair.replies]
    raw = score_all([model], replies, raw=True)[0].replies.mean(1).reshape(-1, 2)
    scores = raw if model.scoring.is_plain else model.score(replies).mean(1).reshape(-1, 2)
    ratings = model.score([(label.prompt, label.reply) for label in rated]).mean(1)
    steps = score_all([model], [(label.prompt, label.lines) for label in stepped], raw=True)[0].steps
    margins, logits = (scores[:, 0] - scores[:, 1]).tolist(), (raw[:, 0] - raw[:, 1]).tolist()
    return [
        *(JudgedPair(*one) for one in zip(pairs, margins, logits, strict=True)),
        *(JudgedRating(*one) for one in zip(rated, ratings.tolist(), strict=True)),
        *(JudgedSteps(*one) for one in zip(stepped, steps, strict=True)),
    ]


def _fresh_models(ctx: Context, adapter: str, lots: Sequence[Lot], seed: int) -> list[RewardModel]:
    """New models of one new adapter; what an attempt that failed in this process left under its name is dropped."""
    settings, base = ctx.config.reward, ctx.tools.base_of(ctx.config.reward.base_model)
    if settings.reference and not isinstance(base, Backbone):
        raise InvalidInput(
            f"reward.reference: '{base.name}' is an encoder and answers nothing; allowed: false", "reward.reference"
        )
    reference_tokens = ctx.config.model.max_tokens if settings.reference else 0
    return new_models(base, adapter, [lot.objective for lot in lots], settings, reference_tokens, seed)
