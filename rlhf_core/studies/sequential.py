"""A confidence sequence for a mean: an interval that holds at all times together, so that anybody may look and stop.

Hedged capital: a gambler who bets against every candidate m, both ways, cannot be expected to win where m is the mean,
and grows rich where it is not; m is ruled out once the capital reaches 1 / alpha, which by Ville's inequality happens
to the true mean with a chance of at most alpha at any time (Waudby-Smith and Ramdas 2024, theorem 3, with the bets of
their equation 26).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
GRID = np.arange(401) / 400
"""Candidates for the mean; a half is one of them."""
HALF = 200
"""Its place."""
TRUNCATION = 0.5
"""Share of what a bet may lose at most, so that capital stays above 0."""


class MeanSequence(NamedTuple):
    """What N values in [0, 1] say of their mean, by the number of them that have come."""

    low: Array
    """(N + 1,) after 0, 1, ... values; so is `high`."""
    high: Array
    decided: int | None
    """After how many values a half was ruled out; None where it never was."""


def mean_sequence(values: Sequence[float], alpha: float) -> MeanSequence:
    """Bound the mean of values in [0, 1], which may depend on each other only through the past.

    The interval at each time is that of all times up to it. Bounds are a grid's, rounded outwards to 1/400.
    """
    numbers = np.asarray(values, dtype=float)
    bets = _bets(numbers, alpha)[:, None]
    away = numbers[:, None] - GRID
    with np.errstate(divide="ignore"):
        up = np.log1p(np.minimum(bets, TRUNCATION / GRID) * away)
        down = np.log1p(-np.minimum(bets, TRUNCATION / (1 - GRID)) * away)
    capital = np.maximum(up.cumsum(0), down.cumsum(0)) + math.log(0.5)
    out = np.maximum.accumulate(capital, 0) >= -math.log(alpha)
    out = np.concatenate([np.zeros((1, len(GRID)), dtype=bool), out])
    # Where capital has ruled out everything, which the true mean survives, the last interval stays.
    left = ~out[np.minimum(np.arange(len(out)), np.flatnonzero(~out.all(1))[-1])]
    low, high = left.argmax(1), len(GRID) - 1 - left[:, ::-1].argmax(1)
    decided = int(out[:, HALF].argmax()) if out[:, HALF].any() else None
    return MeanSequence(GRID[np.maximum(low - 1, 0)], GRID[np.minimum(high + 1, len(GRID) - 1)], decided)


def _bets(values: Array, alpha: float) -> Array:
    """(N,) how much is staked on each value, from those before it alone."""
    count = np.arange(1, len(values) + 1)
    means = (0.5 + values.cumsum()) / (count + 1)
    variances = (0.25 + np.square(values - means).cumsum()) / (count + 1)
    before = np.concatenate([[0.25], variances[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * count * np.log1p(count)))
