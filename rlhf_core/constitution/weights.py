"""The dial: a weight for each objective, as text and as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.principle import MAX_WEIGHT
from rlhf_core.errors import InvalidInput


def parse_weights(text: str) -> dict[str, float]:
    """Read `helpful=3,harmless=1` as numbers. Raises InvalidInput; the names are checked by `resolve_weights`."""
    weights: dict[str, float] = {}
    for part in text.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not equals or math.isnan(value):
            raise InvalidInput(f"weights: '{part.strip()}' is not name=number; as in helpful=3,harmless=1", "weights")
        if name in weights:
            raise InvalidInput(f"weights: '{name}' is given twice", f"weights.{name}")
        weights[name] = value
    return weights


def resolve_weights(constitution: Constitution, weights: Mapping[str, float]) -> dict[str, float]:
    """Return a weight for every objective, in the constitution's order.

    None named: the default weights. Some named: the others get 0. Raises InvalidInput.
    """
    names = constitution.objective_names
    for name, weight in weights.items():
        if name not in names:
            raise InvalidInput(
                f"unknown objective '{name}'; the constitution has: {', '.join(names)}", f"weights.{name}"
            )
        if not math.isfinite(weight) or not 0 <= weight <= MAX_WEIGHT:
            allowed = f"allowed: a number from 0 to {MAX_WEIGHT:.0f}"
            raise InvalidInput(f"the weight of '{name}' is {weight}; {allowed}", f"weights.{name}")
    if not weights:
        return constitution.default_weights()
    if not any(weights.values()):
        raise InvalidInput("all weights are 0; at least one must be above 0", "weights")
    return {name: float(weights.get(name, 0.0)) for name in names}
