"""Krippendorff's alpha: how far people who answer the same items agree beyond chance, with its interval.

Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability". 1 is full agreement, 0 what chance would give, below 0
is worse than chance. Any number of people may answer each item, and none has to answer all.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rlhf_core.errors import InvalidInput
from rlhf_core.records.annotation import Agreement

Level = Literal["nominal", "ordinal"]
"""Answers are equal or not; or they have an order, and those farther apart differ more."""
Counts = NDArray[np.float64]
"""(items, values): how many people gave each value, the values in their order."""

NOT_SHARED = "no item has the answers of two people"
UNANIMOUS = "all answers are the same, so that chance would agree as well"
MIN_DEFINED = 0.9
"""Share of the resamples in which alpha must be defined, or else there is no interval."""


def value_counts(ratings: ArrayLike) -> Counts:
    """Count the values of each item: (people, items), NaN where somebody gave none, to (items, values)."""
    table = np.asarray(ratings, dtype=float)
    if table.ndim != 2:
        raise InvalidInput(f"ratings: {table.ndim} dimensions; allowed: 2, people by items", "ratings")
    values = np.unique(table[~np.isnan(table)])
    return (table[:, :, None] == values).sum(axis=0, dtype=float)


def krippendorff_alpha(counts: Counts, level: Level) -> float | None:
    """Return alpha of (items, values) counts; None where it is undefined, as `undefined` says."""
    shared = counts[counts.sum(axis=1) >= 2]
    if undefined(shared):
        return None
    return float(_alphas(_coincidences(shared).sum(axis=0)[None], level)[0])


def undefined(counts: Counts) -> str:
    """Say why these counts have no alpha; empty where they have one."""
    shared = counts[counts.sum(axis=1) >= 2]
    if not len(shared):
        return NOT_SHARED
    return UNANIMOUS if np.count_nonzero(shared.sum(axis=0)) < 2 else ""


def measure_agreement(counts: Counts, level: Level, *, resamples: int = 1000, seed: int = 0) -> Agreement:
    """Measure alpha with a percentile interval over items drawn with replacement (Efron 1979).

    There is no interval where alpha is undefined in more than a tenth of the draws, as it then often is by chance.
    """
    shared = counts[counts.sum(axis=1) >= 2]
    found = Agreement(items=len(shared), answers=int(shared.sum()), undefined=undefined(shared))
    if found.undefined:
        return found
    # Items with equal counts are drawn together: there are few kinds of them, however many items.
    kinds, sizes = np.unique(shared, axis=0, return_counts=True)
    draws = np.random.default_rng(seed).multinomial(len(shared), sizes / len(shared), size=resamples)
    each = _coincidences(kinds)
    drawn = _alphas((draws @ each.reshape(len(kinds), -1)).reshape(resamples, *each.shape[1:]), level)
    drawn = drawn[~np.isnan(drawn)]
    bounds = np.percentile(drawn, [2.5, 97.5]) if len(drawn) >= MIN_DEFINED * resamples else None
    low, high = (None, None) if bounds is None else map(float, bounds)
    return found.model_copy(update={"value": krippendorff_alpha(shared, level), "low": low, "high": high})


def _coincidences(counts: Counts) -> NDArray[np.float64]:
    """The pairs of answers within each item, which add up to its number of answers: (items, values, values)."""
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(counts.shape[1])
    return pairs / (counts.sum(axis=1) - 1)[:, None, None]


def _alphas(coincidences: NDArray[np.float64], level: Level) -> NDArray[np.float64]:
    """Alpha of each (values, values) table of coincidences; NaN where chance could not differ."""
    totals = coincidences.sum(axis=2)
    if level == "nominal":
        distance = 1 - np.eye(totals.shape[1])[None]
    else:
        # The squared number of answers between two values, half of their own included.
        middle = totals.cumsum(axis=1) - totals / 2
        distance = (middle[:, :, None] - middle[:, None, :]) ** 2
    observed = (coincidences * distance).sum(axis=(1, 2))
    chance = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(chance > 0, 1 - (totals.sum(axis=1) - 1) * observed / chance, np.nan)
