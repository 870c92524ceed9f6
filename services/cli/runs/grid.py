"""The cells of a sweep: every combination of some settings' values, or as many of them as are drawn by a seed."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlhf_core.constitution.parsing.tree import read_tree
from rlhf_core.errors import InvalidInput

RANGE = re.compile(r"\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*\.\.\s*([-+]?[\d.]+(?:e[-+]?\d+)?)\s*", re.IGNORECASE)
DECADE = 10
"""A range of numbers above 0 that is at least so many times as wide as its low end is drawn from by its logarithm."""
MAX_CELLS = 200
DIGITS = 3
"""Of a number that is drawn."""
Cell = Mapping[str, Any]
"""Dotted key -> value."""


class Asked(NamedTuple):
    """A sweep as it was asked for; without `draws` it takes all combinations."""

    name: str
    over: tuple[str, ...]
    draws: int | None
    seed: int
    overrides: tuple[str, ...]


class Axis(NamedTuple):
    """One setting and what it is to be: one of `values`, or anything from `low` to `high`."""

    key: str
    values: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0

    def draw(self, rng: random.Random) -> Any:
        """Draw a value; whole numbers from a range between whole numbers."""
        if self.values:
            return rng.choice(self.values)
        if self.low > 0 and self.high / self.low >= DECADE:
            number = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = rng.uniform(self.low, self.high)
        if self.low == int(self.low) and self.high == int(self.high):
            return round(number)
        return float(f"{number:.{DIGITS}g}")


def axis_of(text: str) -> Axis:
    """Read `ppo.kl_coef=0.02,0.05` or `ppo.learning_rate=1e-4..1e-2`; values are YAML, so a mapping may be one too.

    Raises InvalidInput for what is neither.
    """
    key, equals, written = text.partition("=")
    key = key.strip()
    example = "write it as KEY=VALUE,VALUE or KEY=LOW..HIGH, such as ppo.kl_coef=0.02,0.05"
    if not equals or not all(key.split(".")):
        raise InvalidInput(f"--over {text}: {example}", "over")
    if found := RANGE.fullmatch(written):
        low, high = (_number(part, text) for part in found.groups())
        if low >= high:
            raise InvalidInput(f"--over {text}: the low end comes first; {example}", "over")
        return Axis(key, low=low, high=high)
    tree = read_tree(f"[{written}]", f"--over {text}")
    if tree.problems:
        raise InvalidInput(f"--over {text}: not YAML: {tree.problems[0].message}; {example}", "over")
    values = tuple(tree.data) if isinstance(tree.data, list) else ()
    if len(values) < 2:
        raise InvalidInput(f"--over {text}: {len(values)} values; allowed: at least 2, or a range", "over")
    if any(values.count(value) > 1 for value in values):
        raise InvalidInput(f"--over {text}: a value is there twice", "over")
    return Axis(key, values)


def cells_of(axes: Sequence[Axis], draws: int | None, seed: int) -> list[Cell]:
    """Return all combinations, or `draws` different ones, which the seed decides.

    Raises InvalidInput for a range where all combinations are asked for, a setting twice, or too many cells.
    """
    keys = [axis.key for axis in axes]
    if twice := next((key for key in keys if keys.count(key) > 1), None):
        raise InvalidInput(f"--over {twice}: given twice", "over")
    ranges = [axis.key for axis in axes if not axis.values]
    if draws is None and ranges:
        raise InvalidInput(f"--over {ranges[0]}: a range has no end of values; say how many with --random N", "over")
    size = math.prod(len(axis.values) for axis in axes) if not ranges else MAX_CELLS
    wanted = size if draws is None else draws
    if not 1 <= wanted <= min(size, MAX_CELLS):
        raise InvalidInput(f"{wanted} runs; allowed: 1 to {min(size, MAX_CELLS)}", "over")
    if not ranges:
        every: list[Cell] = [
            dict(zip(keys, row, strict=True)) for row in itertools.product(*(axis.values for axis in axes))
        ]
        return every if draws is None else random.Random(seed).sample(every, draws)
    rng, drawn = random.Random(seed), {}
    for _ in range(100 * wanted):
        cell = {axis.key: axis.draw(rng) for axis in axes}
        drawn.setdefault(told(cell), cell)
        if len(drawn) == wanted:
            return list(drawn.values())
    raise InvalidInput(f"--random {wanted}: these ranges have only {len(drawn)} different combinations", "random")


def told(cell: Cell) -> str:
    """Write `ppo.kl_coef=0.02, seed=1`: what a run of the cell is called."""
    return ", ".join(f"{key}={value}" for key, value in cell.items())


def _number(text: str, place: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InvalidInput(f"--over {place}: '{text}' is no number", "over") from None
