"""The best that is possible: oracle answers by enumeration, and the geometry of fronts. Every axis is maximised."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Array, spearman
from rlhf_core.interfaces import Gold
from rlhf_core.records.base import Record
from rlhf_core.records.samples import Prompt

FRONT_POINTS = 41
"""Weights along the front of two objectives."""
SIMPLEX_STEPS = 10
"""Steps along each edge of the simplex of weights for more than two objectives."""
TIE_BREAK = 1e-9


class FrontPoint(Record):
    """The oracle's mean gold score of each objective at one setting of the dial."""

    weights: dict[str, float]
    gold: dict[str, float]


def answer_scores(gold: Gold, prompts: Sequence[Prompt]) -> list[Array]:
    """Return the gold scores of every allowed answer of each prompt, (answers, K) in the order of `gold.objectives`."""
    tables = []
    for prompt in prompts:
        rows = [[answer[name] for name in gold.objectives] for answer in gold.answers(prompt)]
        if not rows:
            raise InvalidInput(f"gold: prompt '{prompt.id}' has no allowed answers; allowed: at least one")
        tables.append(np.array(rows, dtype=float))
    return tables


def direction(weights: Mapping[str, float], sd: Mapping[str, float], objectives: Sequence[str]) -> Array:
    """Return w_k / sd_k / sum(w), (K,).

    Its product with gold scores is the weighted score in reference sd.
    """
    unknown = sorted(set(weights) - set(objectives))
    if unknown:
        raise InvalidInput(f"weights: unknown objective '{unknown[0]}'; allowed: {', '.join(objectives)}", "weights")
    chosen = np.array([weights.get(name, 0.0) for name in objectives])
    if not np.isfinite(chosen).all() or (chosen < 0).any() or not chosen.any():
        raise InvalidInput("weights: allowed: finite numbers of at least 0, one of them above 0", "weights")
    scale = np.array([sd[name] if weight else 1.0 for name, weight in zip(objectives, chosen, strict=True)])
    if (scale <= 0).any():
        flat = objectives[int(np.argmin(scale))]
        raise InvalidInput(f"gold score '{flat}' has sd {scale.min():g} in the reference samples; allowed: above 0")
    return chosen / scale / chosen.sum()


def best_answers(answers: Sequence[Array], towards: Array) -> Array:
    """Return the scores of each prompt's best answer, (P, K).

    Ties go to the larger sum, so that no point is only weakly best.
    """
    return np.stack([table[np.argmax(table @ towards + TIE_BREAK * table.sum(axis=1))] for table in answers])


def weight_grid(objectives: int) -> Array:
    """Return weights over the simplex, (W, K): 41 for two objectives, every 0.1 for more."""
    steps = FRONT_POINTS - 1 if objectives == 2 else SIMPLEX_STEPS
    size = steps + objectives - 1
    bars = [(-1, *row, size) for row in itertools.combinations(range(size), objectives - 1)]
    return (np.diff(np.array(bars, dtype=float), axis=1) - 1) / steps


def oracle_front(answers: Sequence[Array], objectives: Sequence[str], sd: Mapping[str, float]) -> list[FrontPoint]:
    """Return the mean gold of the best answers at each setting of the dial, equal points left out.

    Mixtures of answers reach every point between neighbours, so the achievable front is their convex hull.
    """
    points: dict[tuple[float, ...], FrontPoint] = {}
    for row in weight_grid(len(objectives)):
        weights = dict(zip(objectives, row.tolist(), strict=True))
        mean = best_answers(answers, direction(weights, sd, objectives)).mean(axis=0)
        scores = dict(zip(objectives, mean.tolist(), strict=True))
        points.setdefault(tuple(np.round(mean, 9)), FrontPoint(weights=weights, gold=scores))
    return list(points.values())


def non_dominated(points: ArrayLike) -> NDArray[np.bool_]:
    """Return which of (N, K) points no other point beats: at least as good everywhere and better somewhere."""
    table = np.asarray(points, dtype=float)
    no_worse = (table[:, None] >= table[None]).all(axis=2)
    better = (table[:, None] > table[None]).any(axis=2)
    beaten: NDArray[np.bool_] = np.any(no_worse & better, axis=0)
    return ~beaten


def hypervolume(points: ArrayLike, reference: Sequence[float]) -> float:
    """Return the area that (N, 2) points dominate above the reference point, by a sweep from the right."""
    table = np.asarray(points, dtype=float).reshape(-1, 2)
    area, floor = 0.0, float(reference[1])
    for x, y in sorted(table.tolist(), reverse=True):
        if x > reference[0] and y > floor:
            area += (x - reference[0]) * (y - floor)
            floor = y
    return area


def dial_correlation(weights: Sequence[Mapping[str, float]], scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the rank correlation of each objective's share of the weight with its mean score, over a sweep's runs."""
    shares = [{name: weight / math.fsum(row.values()) for name, weight in row.items()} for row in weights]
    return {name: spearman([row.get(name, 0.0) for row in shares], [row[name] for row in scores]) for name in scores[0]}
