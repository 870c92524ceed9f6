"""How objectives become one reward in PPO, and how their weights change on the way: part of a run's configuration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from rlhf_core.config.base import Settings
from rlhf_core.errors import InvalidInput

Combine = Literal["linear", "log_sigmoid", "worst_case", "constrained"]


class DialConfig(Settings):
    """z is an objective's score in standard deviations of the reference policy's scores."""

    combine: Combine = "linear"
    """linear: sum of w z. log_sigmoid: sum of w log sigmoid((z - z85) / T), where z85 is what 85 % of the reference
    policy's samples stay below. worst_case: the least z above its floor. constrained: sum of w z, with the mean z of
    some objectives held above floors by learned multipliers."""
    temperature: float = Field(default=1.0, ge=0)
    """T of log_sigmoid and worst_case, in standard deviations; 0 is the plain minimum of worst_case."""
    floors: dict[str, float] = Field(default_factory=dict)
    """Objective -> z: what `constrained` holds the mean above, and what `worst_case` measures from."""
    multiplier: float = Field(default=1.0, gt=0)
    """Where each multiplier of `constrained` begins."""
    multiplier_rate: float = Field(default=0.1, gt=0)
    """Its logarithm rises by this for each standard deviation that a step's mean falls short of the floor."""
    multiplier_max: float = Field(default=5.0, gt=0)
    normalise: bool = False
    """Bring every objective's advantages to mean 0 and sd 1 before they are weighed (GDPO), so that one that varies
    little is heard. The dial's meaning then drifts with these spreads."""
    weights_at: dict[int, dict[str, float]] = Field(default_factory=dict)
    """Step -> weights that hold from it on; the run's own weights are those of step 1."""
    between: Literal["hold", "linear"] = "hold"
    """Whether weights jump at these steps or move in a straight line from one to the next."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Self:
        if self.floors and self.combine not in ("worst_case", "constrained"):
            raise ValueError(f"combine '{self.combine}' reads no floors; worst_case and constrained do")
        if not self.floors and self.combine == "constrained":
            raise ValueError("combine 'constrained' needs floors, as in floors: {harmless: 0.5}")
        if self.temperature == 0 and self.combine == "log_sigmoid":
            raise ValueError("temperature is 0; combine 'log_sigmoid' needs one above 0")
        if self.between == "linear" and self.combine == "worst_case":
            raise ValueError("between 'linear' passes through unequal weights, which 'worst_case' takes none of")
        if self.multiplier > self.multiplier_max:
            raise ValueError(f"multiplier is {self.multiplier:g}, above multiplier_max {self.multiplier_max:g}")
        for name, floor in self.floors.items():
            if not math.isfinite(floor):
                raise ValueError(f"the floor of '{name}' is {floor}; allowed: a finite number")
        for step, weights in self.weights_at.items():
            _check_weights(step, weights)
        return self


def _check_weights(step: int, weights: Mapping[str, float]) -> None:
    if step < 1:
        raise ValueError(f"weights_at has step {step}; allowed: 1 or later")
    for name, weight in weights.items():
        if not math.isfinite(weight) or weight < 0:
            raise ValueError(f"the weight of '{name}' at step {step} is {weight}; allowed: finite, at least 0")
    if not any(weights.values()):
        raise ValueError(f"all weights at step {step} are 0; at least one must be above 0")


def check_dial(dial: DialConfig, weights: Mapping[str, float], objectives: Sequence[str]) -> None:
    """Refuse a dial that speaks of an objective that is not there, or cannot use weights.

    InvalidInput names the key.
    """
    named = [("floors", name) for name in dial.floors]
    named += [(f"weights_at.{step}", name) for step, row in dial.weights_at.items() for name in row]
    for key, name in named:
        if name not in objectives:
            where = f"ppo.dial.{key}"
            raise InvalidInput(f"{where}: unknown objective '{name}'; allowed: {', '.join(objectives)}", where)
    if dial.combine == "worst_case":
        for row in (weights, *dial.weights_at.values()):
            if len({weight for weight in row.values() if weight}) > 1:
                raise InvalidInput(
                    f"combine 'worst_case' looks at the worst objective only; the weights are {_text(row)}; "
                    "allowed: 0 to leave one out, the same number for all others; floors tell them apart",
                    "weights",
                )


def weights_at(dial: DialConfig, weights: Mapping[str, float], step: int) -> dict[str, float]:
    """Return the weights of a step, counted from 1, that start out as `weights`.

    An objective not named weighs nothing.
    """
    names = list(weights)
    points = {1: dict(weights)} | {at: {n: row.get(n, 0.0) for n in names} for at, row in dial.weights_at.items()}
    before = max((at for at in points if at <= step), default=1)
    after = min((at for at in points if at > step), default=None)
    if dial.between == "hold" or after is None:
        return points[before]
    done = (step - before) / (after - before)
    return {name: (1 - done) * points[before][name] + done * points[after][name] for name in names}


def _text(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={weight:g}" for name, weight in weights.items())
