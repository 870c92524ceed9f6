"""A reward model against labels that it was not trained on, for each source of labels by itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple, get_args

import numpy as np

from rlhf_core.data.reward_examples import LabelledPair, Rating, Source, StepLabels
from rlhf_core.evaluation.statistics import spearman
from rlhf_core.records.models import QualitySource, RewardQuality
from rlhf_core.stats import clustered_interval
from rlhf_core.text_detectors import words

BINS = 10


class JudgedPair(NamedTuple):
    label: LabelledPair
    margin: float
    """Score of a less that of b."""
    logit: float
    """The same of raw scores, whose logistic function is the model's probability."""


class JudgedRating(NamedTuple):
    label: Rating
    score: float


class JudgedSteps(NamedTuple):
    label: StepLabels
    scores: tuple[float, ...]
    """Of the last steps, where a beginning was cut."""


Judged = JudgedPair | JudgedRating | JudgedSteps


def measure_quality(judged: Sequence[Judged]) -> tuple[RewardQuality, ...]:
    """Measure a model on all labels, then on each source where there are several; nothing where there are no labels."""
    sources = [source for source in get_args(Source) if any(one.label.source == source for one in judged)]
    found = [_quality("all", judged)] if judged else []
    if len(sources) > 1:
        found += [_quality(source, [one for one in judged if one.label.source == source]) for source in sources]
    return tuple(found)


def _quality(source: QualitySource, judged: Sequence[Judged]) -> RewardQuality:
    return RewardQuality.model_validate({"source": source, **_numbers(judged)})


def _numbers(judged: Sequence[Judged]) -> dict[str, float | int | None]:
    pairs = [one for one in judged if isinstance(one, JudgedPair)]
    decided = [one for one in pairs if one.label.probability != 0.5]
    rated = [one for one in judged if isinstance(one, JudgedRating)]
    steps = [
        (score, label)
        for one in judged
        if isinstance(one, JudgedSteps)
        for score, label in zip(one.scores, one.label.labels[-len(one.scores) :], strict=True)
        if label != 0.5
    ]
    numbers: dict[str, float | int | None] = {"pairs": len(decided), "ratings": len(rated), "steps": len(steps)}
    if pairs:
        numbers |= _calibration(pairs)
    if decided:
        numbers |= _order(decided)
    if len(rated) > 1:
        numbers["rating_correlation"] = spearman([one.score for one in rated], [one.label.rating for one in rated])
    if steps:
        numbers["step_accuracy"] = sum((score > 0) == (label > 0.5) for score, label in steps) / len(steps)
    return numbers


def _order(pairs: Sequence[JudgedPair]) -> dict[str, float | int | None]:
    """Of pairs with a better reply."""
    better = np.array([np.sign(pair.label.probability - 0.5) for pair in pairs])
    margins = np.array([pair.margin for pair in pairs])
    lengths = np.array([len(words(pair.label.a)) - len(words(pair.label.b)) for pair in pairs], dtype=float)
    right = (np.sign(margins) * better + 1) / 2
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for pair, hit in zip(pairs, right.tolist(), strict=True):
        by_prompt[pair.label.prompt.id].append(hit)
    low, high = clustered_interval([(sum(hits), len(hits)) for hits in by_prompt.values()])
    scale = float(np.sqrt((margins @ margins) * (lengths @ lengths)))
    return {
        "accuracy": float(right.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "longer_reply": float(((np.sign(lengths) * better + 1) / 2).mean()),
        "length_correlation": float(margins @ lengths) / scale if scale else 0.0,
    }


def _calibration(pairs: Sequence[JudgedPair]) -> dict[str, float | int | None]:
    """Confidence is the probability of the reply that the model prefers, so that swapping a and b changes nothing."""
    logits = np.array([pair.logit for pair in pairs])
    labels = np.array([pair.label.probability for pair in pairs])
    probabilities = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
    confidence = np.maximum(probabilities, 1 - probabilities)
    truth = np.where(logits == 0, 0.5, np.where(logits > 0, labels, 1 - labels))
    bins = np.minimum(BINS - 1, ((confidence - 0.5) * 2 * BINS).astype(int))
    error = np.abs(np.bincount(bins, weights=truth - confidence, minlength=BINS)).sum() / len(pairs)
    return {"brier": float(np.square(probabilities - labels).mean()), "ece": float(error)}
