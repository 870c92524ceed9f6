"""Interval estimates that need no resampling, for whatever part of the core reports a share."""

from __future__ import annotations

import math
from typing import NamedTuple

from rlhf_core.errors import InvalidInput

Z95 = 1.959963984540054
"""Two-sided 95 % quantile of the standard normal distribution."""


class Interval(NamedTuple):
    low: float
    high: float


def wilson_interval(successes: float, n: int) -> Interval:
    """Wilson's 95 % score interval of a proportion (Wilson 1927); `successes` may be fractional.

    Raises InvalidInput unless n is at least 1 and successes lie within 0 and n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise InvalidInput(f"interval of {successes} successes of {n}; allowed: n of at least 1, successes from 0 to n")
    share, square = successes / n, Z95 * Z95
    centre = (share + square / (2 * n)) / (1 + square / n)
    half = Z95 * math.sqrt(share * (1 - share) / n + square / (4 * n * n)) / (1 + square / n)
    return Interval(max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)))
