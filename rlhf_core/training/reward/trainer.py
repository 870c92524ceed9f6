"""Training of reward models: one objective's, or those of all objectives on one trunk.

Every kind of label teaches by its own loss, each ensemble member on its own bootstrap of the labels.
"""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from rlhf_core.config.run import RewardConfig
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair, Rating, StepLabels, pairs_of
from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.models.batching import shuffled_batches
from rlhf_core.models.reward_inputs import Row
from rlhf_core.records.runs import StepMetrics
from rlhf_core.reward_models.ensemble import fitted
from rlhf_core.reward_models.reward_model import RewardModel, score_all
from rlhf_core.seeding import derived_seed
from rlhf_core.training.epoch_state import EpochState, Keep, keep_nothing
from rlhf_core.training.optimizer import Optimizer
from rlhf_core.training.reward import losses
from rlhf_core.training.reward.batch_loss import Goal, Lesson, Scored, batch_loss, read_batch

Read = TypeVar("Read")
SCALE_REPLIES = 512
"""Replies of the training labels on which an ensemble's scale and the worth of a token are fitted, at most."""


def training_steps(examples: int, config: RewardConfig) -> int:
    """Return how many updates training on this many examples takes, unless it stops early."""
    return config.epochs * -(-examples // config.batch_size)


def by_replies(keys: Sequence[Sequence[Hashable]], values: Sequence[Sequence[Read]]) -> list[list[Read]]:
    """Group what the models of one trunk learn from the same replies: those are one example, and are read once.

    `keys[m]` say which replies the values of model m are about. Two of one model are two examples all the same.
    """
    groups: dict[tuple[Hashable, int], list[Read]] = {}
    for own_keys, own in zip(keys, values, strict=True):
        times: Counter[Hashable] = Counter()
        for key, value in zip(own_keys, own, strict=True):
            groups.setdefault((key, times[key]), []).append(value)
            times[key] += 1
    return list(groups.values())


def train_reward_models(
    models: Sequence[RewardModel],
    labels: Sequence[Sequence[Label]],
    config: RewardConfig,
    seed: int,
    stop_on: Sequence[Sequence[Label]] = (),
    snapshot: Path | None = None,
    keep: Keep = keep_nothing,
) -> Iterator[StepMetrics]:
    """Minimise the weighted loss of each model's labels; yields each update. The models share one trunk.

    With labels to stop on, training ends after the first epoch that does not lower their loss, and the best epoch's
    weights stay. With a snapshot, go on as if never interrupted. `config.members` and how replies are read are the
    models' own affair.
    """
    for model, own in zip(models, labels, strict=True):
        _check(model, own)
    name = "+".join(model.objective for model in models)
    generator = torch.Generator().manual_seed(derived_seed(seed, "reward", name))
    lessons = _lessons(models, labels, generator)
    examples = by_replies([[one.rows for one in own] for own in lessons], lessons)
    unseen = list(itertools.chain(*_lessons(models, stop_on, None)))
    goals = [_goal(model, own, config) for model, own in zip(models, labels, strict=True)]
    lengths = [max(len(row.ids) for row in example[0].rows) for example in examples]
    steps = training_steps(len(examples), config)
    parameters = models[0].parameters() + [p for model in models[1:] for p in model.heads.parameters()]
    parameters += [goal.log_tie for goal in goals if isinstance(goal.log_tie, nn.Parameter)]
    state = EpochState.begin(Optimizer(parameters, config.learning_rate, steps), snapshot)
    done = state.optimizer.update
    for epoch in range(config.epochs):
        batches = shuffled_batches(lengths, config.batch_size, generator)
        for rows in batches[max(0, done - epoch * len(batches)) :]:
            batch = [examples[i] for i in rows]
            metrics = _update(models, batch, goals, config, state.optimizer, f"the reward model of '{name}'")
            keep(state)
            yield metrics
        # A snapshot taken later than this epoch's last update holds what came of the epoch.
        if unseen and done <= (epoch + 1) * len(batches):
            loss = _mean_loss(models, unseen, goals, config)
            if loss >= state.best:
                break
            state.best, state.kept = loss, [parameter.detach().clone() for parameter in parameters]
    state.go_back()
    _fit_scales(models, labels, config)


def _update(
    models: Sequence[RewardModel],
    examples: Sequence[Sequence[Lesson]],
    goals: Sequence[Goal],
    config: RewardConfig,
    optimizer: Optimizer,
    what: str,
) -> StepMetrics:
    """Take a gradient step on a batch, in as many passes as it needs."""
    started, rate, where = time.perf_counter(), optimizer.rate, f"step {optimizer.update} of {what}"
    most, scored, total = config.micro_batch_size or len(examples), list[Scored](), 0.0
    optimizer.discard()
    with models[0].backbone.adapters.using(models[0].adapter, train=True):
        for start in range(0, len(examples), most):
            part = examples[start : start + most]
            read = read_batch(models, list(itertools.chain(*part)), train=True)
            loss = batch_loss(read, goals, config)
            if len(part) < len(examples):
                loss = loss * (_losses_of(models, part) / _losses_of(models, examples))
            optimizer.accumulate(loss, where)
            total += loss.item()
            # Without their graph, which would stay until the last pass.
            scored += [one._replace(replies=one.replies.detach(), steps=one.steps.detach()) for one in read]
        norm = optimizer.apply(where)
    values = {"loss": total, "grad_norm": norm, "learning_rate": rate}
    for index, model in enumerate(models):
        margins = _margins([one for one in scored if one.lesson.model == index])
        values |= margins if len(models) == 1 else {f"{name}.{model.objective}": n for name, n in margins.items()}
    values["seconds"] = time.perf_counter() - started
    stage = f"reward/{models[0].objective}" if len(models) == 1 else "reward"
    return StepMetrics(stage=stage, step=optimizer.update, steps=optimizer.updates, values=values)


def _losses_of(models: Sequence[RewardModel], examples: Sequence[Sequence[Lesson]]) -> int:
    """How many numbers the mean loss of these examples is a mean of: one for each lesson and ensemble member."""
    return sum(models[lesson.model].members for example in examples for lesson in example)


def _lessons(
    models: Sequence[RewardModel], labels: Sequence[Sequence[Label]], generator: torch.Generator | None
) -> list[list[Lesson]]:
    """Each model's labels as rows; each member's bootstrap where there is a generator, else the labels themselves."""
    lessons: list[list[Lesson]] = []
    for index, (model, own) in enumerate(zip(models, labels, strict=bool(labels))):
        plain = torch.tensor([label.weight for label in own])
        weights = (
            losses.bootstrap_weights(plain, model.members, generator)
            if generator
            else plain[:, None].expand(-1, model.members)
        )
        read = _rows(model, own)
        lessons.append([Lesson(label, rows, index, w) for label, rows, w in zip(own, read, weights, strict=True)])
    return lessons


def _rows(model: RewardModel, labels: Sequence[Label]) -> Iterator[tuple[Row, ...]]:
    """Each label's replies as rows, all of them encoded together."""
    replies = [(label.lines,) if isinstance(label, StepLabels) else label.replies for label in labels]
    rows = iter(model.encode_all([(label.prompt, r) for label, own in zip(labels, replies, strict=True) for r in own]))
    for own in replies:
        yield tuple(itertools.islice(rows, len(own)))


def _goal(model: RewardModel, labels: Sequence[Label], config: RewardConfig) -> Goal:
    rated = [label for label in labels if isinstance(label, Rating)]
    ratings = np.array([label.rating for label in rated])
    grades = np.array([grade for label in labels if isinstance(label, GradedLines) for grade in label.grades])
    scale = float(np.sqrt(np.square(grades).mean())) if grades.any() else 1.0
    tie = None
    pairs = [label for label in labels if isinstance(label, LabelledPair)]
    if config.ties == "davidson" and pairs:
        # Where the labels put it: at the learning rate of the heads it would hardly get there.
        odds = losses.tie_odds(sum(label.tied for label in pairs), len(pairs))
        tie = nn.Parameter(torch.full((model.members,), math.log(odds), device=model.backbone.device))
    if not len(ratings):
        return Goal(grade_scale=scale, log_tie=tie)
    if ratings.std() > 0:
        return Goal(float(ratings.mean()), float(ratings.std()), scale, tie)
    if all(label.source == "data" for label in rated):
        raise TrainingFailed(f"all {len(ratings)} ratings of '{model.objective}' are {ratings[0]:g}; they say nothing")
    # People have only begun to rate: no mistake that should end a run.
    return Goal(float(ratings.mean()), 1.0, scale, tie)


@torch.no_grad()
def _mean_loss(
    models: Sequence[RewardModel], lessons: Sequence[Lesson], goals: Sequence[Goal], config: RewardConfig
) -> float:
    total = 0.0
    for start in range(0, len(lessons), config.batch_size):
        part = lessons[start : start + config.batch_size]
        total += float(batch_loss(read_batch(models, part, train=False), goals, config)) * len(part)
    return total / len(lessons)


@torch.no_grad()
def _margins(scored: Sequence[Scored]) -> dict[str, float]:
    if not scored:
        return {}
    values = {"mean_score": torch.cat([one.replies for one in scored]).mean().item()}
    pairs = [one for one in scored if isinstance(one.lesson.label, LabelledPair)]
    if pairs:
        probability = torch.tensor([pair.probability for one in pairs for pair in pairs_of(one.lesson.label)])
        a, b = (torch.stack([one.replies[index].mean() for one in pairs]).cpu() for index in (0, 1))
        values["accuracy"], decided = losses.preference_accuracy(a, b, probability)
        values["margin"] = ((a - b) * torch.sign(probability - 0.5)).sum().item() / max(1, decided)
    return values


def _fit_scales(models: Sequence[RewardModel], labels: Sequence[Sequence[Label]], config: RewardConfig) -> None:
    for model, own in zip(models, labels, strict=True):
        if model.scoring.aggregate == "mean" and not config.correct_length:
            continue
        replies = list(dict.fromkeys((label.prompt, reply) for label in own for reply in label.replies))
        chosen = replies[:: -(-len(replies) // SCALE_REPLIES)]
        members = score_all([model], chosen, raw=True)[0].replies
        lengths = torch.tensor([float(row.reply) for row in model.encode_all(chosen)])
        model.scoring = fitted(model.scoring, members, lengths, config.correct_length)


def _check(model: RewardModel, labels: Sequence[Label]) -> None:
    decided = any(
        label.weight > 0
        and not (isinstance(label, LabelledPair) and label.probability == 0.5)
        and not (isinstance(label, GradedLines) and not any(label.grades))
        for label in labels
    )
    if not decided:
        raise TrainingFailed(f"objective '{model.objective}' has no pair with a preference among its {len(labels)}")
    for label in labels:
        probability = label.probability if isinstance(label, LabelledPair) else 0.5
        if not 0 <= probability <= 1 or not 0 <= label.weight < math.inf:
            raise InvalidInput(
                f"a pair of '{model.objective}' has probability {probability} and weight {label.weight}; "
                "allowed: a probability from 0 to 1, a finite weight of at least 0"
            )
        if isinstance(label, StepLabels | GradedLines) and not model.scoring.process:
            raise InvalidInput(
                f"objective '{model.objective}' has labels of steps; allowed for objectives that reward.process names",
                "reward.process",
            )
