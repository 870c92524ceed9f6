"""Interval estimates that need no resampling, for whatever part of the core reports a share."""

from __future__ import annotations

import math
from collections.abc import Sequence
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
