"""Interval estimates that need no resampling, for whatever part of the core reports a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from statistics import fmean, stdev
from typing import NamedTuple

from rlhf_core.errors import InvalidInput

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


class Interval(NamedTuple):
    low: float
    high: float


def wilson_interval(successes: float, n: float) -> Interval:
    """Return Wilson's 95 % score interval of a proportion (Wilson 1927); both may be fractional.

    Raises InvalidInput unless n is at least 1 and successes lie within 0 and n.
    """
    return score_interval(successes, n, Z95)


def score_interval(successes: float, n: float, z: float) -> Interval:
    """Return Wilson's interval at another level, by its two-sided normal quantile `z`. Raises as `wilson_interval`."""
    if n < 1 or not 0 <= successes <= n:
        raise InvalidInput(f"interval of {successes} successes of {n}; allowed: n of at least 1, successes from 0 to n")
    share, square = successes / n, z * z
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = z * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))


def clustered_interval(groups: Sequence[tuple[float, int]]) -> Interval:
    """Return Wilson's interval of a share whose cases come in groups, such as by prompt: (successes, cases) of each.

    Cases of one group tell less than as many of their own. n is divided by the design effect, the variance of the
    share between groups over that of independent cases (Kish 1965); where all cases agree n is the number of groups.
    """
    n, count = sum(cases for _, cases in groups), len(groups)
    share = sum(successes for successes, _ in groups) / n
    alone = share * (1 - share) / max(1, n - 1)
    if count < 2 or alone == 0:
        return wilson_interval(share * count, count)
    between = sum((successes - share * cases) ** 2 for successes, cases in groups) * count / (count - 1) / n**2
    effective = max(1.0, n / max(1.0, between / alone))
    return wilson_interval(share * effective, effective)


def mean_interval(values: Sequence[float], error: float) -> Interval | None:
    """Return the two-sided t interval of a mean at the level 1 - `error` (Student 1908).

    None where the values show no spread, or are fewer than two: they then say nothing of how far the mean may be off.
    """
    if len(values) < 2 or min(values) == max(values):
        return None
    mean, half = fmean(values), student_quantile(error, len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Interval(mean - half, mean + half)


@cache
def student_quantile(error: float, degrees: int) -> float:
    """Return what |t| of so many degrees of freedom exceeds with the chance `error`."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_within(middle, degrees) < 1 - error else (low, middle)
    return math.sqrt(degrees) * math.tan(low)


def _student_within(angle: float, degrees: int) -> float:
    """The chance that |t| is at most sqrt(degrees) tan(angle) (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4)."""
    sine, cosine = math.sin(angle), math.cos(angle)
    is_odd = degrees % 2 == 1
    term, total = cosine if is_odd else 1.0, 0.0
    for power in range(degrees % 2, degrees - 1, 2):
        total += term
        term *= cosine**2 * (power + 1) / (power + 2)
    return 2 / math.pi * (angle + sine * total) if is_odd else sine * total
