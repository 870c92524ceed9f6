"""Compute the loss of a batch of labels: each kind of label by its own loss, by example and ensemble member."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rlhf_core.config.run import RewardConfig
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair, Ranking, Rating, StepLabels
from rlhf_core.models.reward_inputs import Row
from rlhf_core.reward_models.ensemble import pool_steps
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.training.reward.losses import bradley_terry, davidson, plackett_luce, squared_error, step_cross_entropy


class Lesson(NamedTuple):
    """A label with its replies as rows, the place of the model that learns from it, and its weight (M,) by member."""

    label: Label
    rows: tuple[Row, ...]
    model: int
    weight: Tensor


class Goal(NamedTuple):
    """One model's loss parameters: the units of ratings and grades, and the log-odds (M,) of a tie."""

    rating_mean: float = 0.0
    rating_sd: float = 1.0
    grade_scale: float = 1.0
    """Root mean square of the grades of lines."""
    log_tie: Tensor | None = None


class Scored(NamedTuple):
    """A lesson with its replies' scores (N, M), and those (S, M) of all their steps."""

    lesson: Lesson
    replies: Tensor
    steps: Tensor


def read_batch(models: Sequence[RewardModel], lessons: Sequence[Lesson], train: bool) -> list[Scored]:
    """Score a batch in one pass over the trunk: the first replies of all lessons, then the second, and so on.

    A row that several lessons learn from is read once.
    """
    most = max(len(lesson.rows) for lesson in lessons)
    ordered = (lesson.rows[index] for index in range(most) for lesson in lessons if index < len(lesson.rows))
    rows = list(dict.fromkeys(ordered))
    trunk = models[0].backbone
    with trunk.adapters.using(models[0].adapter, train=train):
        pooled = trunk.pooled(rows, models[0].scoring.layers).split([len(row.spans) for row in rows])
    found = dict(zip(rows, pooled, strict=True))
    scored: list[Scored] = []
    for lesson in lessons:
        model, own = models[lesson.model], [found[row] for row in lesson.rows]
        steps = model.heads(torch.cat(own))
        replies = pool_steps(steps, [len(part) for part in own], model.scoring.step_pool)
        scored.append(Scored(lesson, replies, steps))
    return scored


def batch_loss(scored: Sequence[Scored], goals: Sequence[Goal], config: RewardConfig) -> Tensor:
    """Return the mean over examples and members of weight times loss."""
    losses: list[Tensor] = []
    for index, goal in enumerate(goals):
        own = [one for one in scored if one.lesson.model == index]
        for kind, loss in (
            (LabelledPair, _pairs),
            (Ranking, _rankings),
            (Rating, _ratings),
            (StepLabels, _steps),
            (GradedLines, _graded),
        ):
            if chosen := [one for one in own if isinstance(one.lesson.label, kind)]:
                result = loss(chosen, goal, config)
                weight = torch.stack([one.lesson.weight for one in chosen]).to(result.device)
                losses.append((weight * result).flatten())
    return torch.cat(losses).mean()


def _pairs(scored: Sequence[Scored], goal: Goal, config: RewardConfig) -> Tensor:
    labels = [one.lesson.label for one in scored if isinstance(one.lesson.label, LabelledPair)]
    a, b = (torch.stack([one.replies[index] for one in scored]) for index in (0, 1))
    probability, margin, tie = (
        torch.tensor([float(value) for value in column], device=a.device)
        for column in zip(*((label.probability, label.margin, label.tied) for label in labels), strict=True)
    )
    if goal.log_tie is None:
        loss = bradley_terry(a, b, probability, margin)
    else:
        loss = davidson(a, b, probability, tie, goal.log_tie, margin)
    return loss + config.center_coef * (a + b).square()


def _rankings(scored: Sequence[Scored], goal: Goal, config: RewardConfig) -> Tensor:
    labels = [one.lesson.label for one in scored if isinstance(one.lesson.label, Ranking)]
    scores = nn.utils.rnn.pad_sequence([one.replies for one in scored], batch_first=True)
    ranks = [torch.tensor(label.ranks, dtype=scores.dtype, device=scores.device) for label in labels]
    padded = nn.utils.rnn.pad_sequence(ranks, batch_first=True, padding_value=torch.inf)
    centre = torch.stack([2 * one.replies.mean(0) for one in scored])
    return plackett_luce(scores, padded) + config.center_coef * centre.square()


def _ratings(scored: Sequence[Scored], goal: Goal, config: RewardConfig) -> Tensor:
    labels = [one.lesson.label for one in scored if isinstance(one.lesson.label, Rating)]
    scores = torch.cat([one.replies for one in scored])
    ratings = torch.tensor([label.rating for label in labels], dtype=scores.dtype, device=scores.device)
    return squared_error(scores, (ratings - goal.rating_mean) / goal.rating_sd)


def _steps(scored: Sequence[Scored], goal: Goal, config: RewardConfig) -> Tensor:
    losses = []
    for one in scored:
        if isinstance(one.lesson.label, StepLabels):
            labels = torch.tensor(one.lesson.label.labels[-len(one.steps) :], device=one.steps.device)
            losses.append(step_cross_entropy(one.steps, labels))
    return torch.cat(losses)


def _graded(scored: Sequence[Scored], goal: Goal, config: RewardConfig) -> Tensor:
    losses = []
    for one in scored:
        if isinstance(one.lesson.label, GradedLines):
            grades = torch.tensor(one.lesson.label.grades[-len(one.steps) :], device=one.steps.device)
            each = grades[:, None].expand_as(one.steps) / goal.grade_scale
            losses.append(_miss(one.steps - each, config.grade_outliers).mean(0, keepdim=True))
    return torch.cat(losses)


def _miss(miss: Tensor, outliers: float | None) -> Tensor:
    """What lines cost that miss their grades by so much: the square, or the absolute value beyond `outliers`."""
    if outliers is None:
        return miss.square()
    return nn.functional.huber_loss(miss, torch.zeros_like(miss), reduction="none", delta=outliers) / outliers
