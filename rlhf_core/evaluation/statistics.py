"""Intervals for evaluation: prompts are the independent units, so prompts are what is resampled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import Record
from rlhf_core.stats import wilson_interval

Array = NDArray[np.float64]


class Estimate(Record):
    """A number with its 95 % interval; `n` counts the independent units behind it."""

    value: float
    low: float
    high: float
    n: int
    baseline: float | None = None
    """The same number for the shipped model, where there is one to compare with."""


def prompt_means(values: ArrayLike, prompts: Sequence[str], order: Sequence[str]) -> Array:
    """Return the mean value of each prompt, (P,) in the given order; every prompt must have at least one value."""
    row = {prompt: index for index, prompt in enumerate(order)}
    rows = np.array([row[prompt] for prompt in prompts], dtype=int)
    counts = np.bincount(rows, minlength=len(row))
    if not counts.all():
        missing = order[int(np.argmin(counts))]
        raise InvalidInput(f"evaluation: prompt '{missing}' has no value; allowed: at least one value for every prompt")
    return np.bincount(rows, weights=np.asarray(values, dtype=float), minlength=len(row)) / counts


def bootstrap_means(per_prompt: ArrayLike, resamples: int, seed: int) -> Array:
    """Draw means over prompts with replacement: (P, C) -> (R, C). All columns share one draw, so they stay paired."""
    table = np.asarray(per_prompt, dtype=float)
    prompts = len(table)
    draws = np.random.default_rng(seed).multinomial(prompts, np.full(prompts, 1 / prompts), size=resamples)
    return draws @ table / prompts


def cluster_bootstrap(
    per_prompt: ArrayLike,
    statistic: Callable[[Array], Array],
    *,
    resamples: int = 1000,
    seed: int = 0,
    baseline: float | None = None,
) -> Estimate:
    """Return the percentile interval of a statistic of column means: `statistic` maps (R, C) to (R,) (Efron 1979)."""
    table = np.asarray(per_prompt, dtype=float)
    if table.ndim != 2 or not len(table):
        raise InvalidInput("evaluation: no prompts to evaluate; allowed: at least one", field="evaluation.prompts")
    value = float(statistic(table.mean(axis=0, keepdims=True))[0])
    low, high = np.percentile(statistic(bootstrap_means(table, resamples, seed)), [2.5, 97.5])
    return Estimate(value=value, low=float(low), high=float(high), n=len(table), baseline=baseline)


def mean_estimate(
    per_prompt: ArrayLike, *, resamples: int = 1000, seed: int = 0, baseline: float | None = None
) -> Estimate:
    """Return the mean over prompts of (P,) values, with its cluster-bootstrap interval."""
    table = np.asarray(per_prompt, dtype=float).reshape(-1, 1)
    return cluster_bootstrap(table, lambda means: means[:, 0], resamples=resamples, seed=seed, baseline=baseline)


def difference_estimate(before: ArrayLike, after: ArrayLike, *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the mean of after - before, paired by prompt: both are (P,) in one order."""
    table = np.stack([np.asarray(before, dtype=float), np.asarray(after, dtype=float)], axis=1)
    return cluster_bootstrap(table, lambda means: means[:, 1] - means[:, 0], resamples=resamples, seed=seed)


def wilson(successes: float, n: int, *, baseline: float | None = None) -> Estimate:
    """Return Wilson's score interval of a proportion (Wilson 1927); `successes` may be fractional."""
    low, high = wilson_interval(successes, n)
    return Estimate(value=successes / n, low=low, high=high, n=n, baseline=baseline)


def ranks(values: ArrayLike) -> Array:
    """Rank values from 1; equal ones share the mean of their ranks."""
    numbers = np.asarray(values, dtype=float)
    _, group, sizes = np.unique(numbers, return_inverse=True, return_counts=True)
    last = np.cumsum(sizes)
    return (last - (sizes - 1) / 2)[group]


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return the rank correlation (Spearman 1904), ties by mean rank; 0 when either side is constant."""
    a, b = ranks(x), ranks(y)
    if len(a) != len(b) or len(a) < 2:
        raise InvalidInput(
            f"rank correlation of {len(a)} and {len(b)} values; allowed: two equal lengths of at least 2"
        )
    a, b = a - a.mean(), b - b.mean()
    scale = math.sqrt(float(a @ a) * float(b @ b))
    return float(a @ b) / scale if scale else 0.0
