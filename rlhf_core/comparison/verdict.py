"""Whether the second of two policies is better than the first: by objective, and by the weights of its run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rlhf_core.comparison.columns import Column
from rlhf_core.comparison.records import Judge, Part, Verdict
from rlhf_core.comparison.sources import Terms
from rlhf_core.evaluation.statistics import Array, difference_estimate, mean_estimate

MIN_SHARED = 2
"""Prompts; the difference of fewer has no interval."""
BEST_GOLD: Mapping[str, float] = {"helpful": 1.0, "harmless": 0.0}
"""The sandbox's grades of a reply with which nothing is wrong."""

Sides = tuple[Column, Column]


def verdict_of(judge: Judge, judged: Mapping[str, Sides], first: Terms, second: Terms) -> Verdict | None:
    """Weigh what one judge says of both policies, by objective, with the weights of the second's run.

    None where it knows fewer than two prompts that both answered.
    """
    columns = [column for sides in judged.values() for column in sides]
    shared = [prompt for prompt in columns[0] if all(prompt in column for column in columns)] if columns else []
    if len(shared) < MIN_SHARED:
        return None
    values = {name: [np.array([side[prompt] for prompt in shared]) for side in sides] for name, sides in judged.items()}
    units = _units(judge, judged, second)
    parts = tuple(
        Part(
            objective=name,
            weight=second.weights.get(name, 0.0),
            unit=units[name],
            a=mean_estimate(a),
            b=mean_estimate(b),
            difference=difference_estimate(a, b),
            best=BEST_GOLD.get(name) if judge == "gold" else None,
        )
        for name, (a, b) in values.items()
    )
    note = _unweighable(parts, second.weights)
    return Verdict(
        judge=judge,
        prompts=len(shared),
        parts=parts,
        weights_differ=_shares(first.weights) != _shares(second.weights),
        weighted=None if note else difference_estimate(*(_summed(parts, values, side) for side in (0, 1))),
        note=note,
    )


def _units(judge: Judge, judged: Mapping[str, Sides], terms: Terms) -> dict[str, float]:
    """Standard deviations of the reference policy, as weights are meant; scores are in them already.

    Where gold's are not known for every objective with a weight, all stay in their own unit.
    """
    plain = dict.fromkeys(judged, 1.0)
    known = {name: sd for name, sd in terms.gold_sd.items() if sd > 0}
    if judge != "gold" or any(terms.weights.get(name) and name not in known for name in judged):
        return plain
    return {name: known.get(name, 1.0) for name in plain}


def _unweighable(parts: tuple[Part, ...], weights: Mapping[str, float]) -> str:
    """Why there is no weighted sum; empty where there is one."""
    names = {part.objective for part in parts}
    missing = [name for name, weight in weights.items() if weight and name not in names]
    if missing:
        return f"nothing that judged both policies knows {', '.join(missing)}, which the weights count"
    return "" if any(part.weight for part in parts) else "no objective has a weight"


def _summed(parts: tuple[Part, ...], values: Mapping[str, list[Array]], side: int) -> Array:
    total = sum(part.weight for part in parts)
    return np.sum([part.weight / total / part.unit * values[part.objective][side] for part in parts], axis=0)


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    return {name: round(weight / total, 9) for name, weight in weights.items() if weight}
