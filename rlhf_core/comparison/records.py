"""Two runs side by side, as numbers, settings, curves and replies."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.base import Record

Judge = Literal["gold", "reward model"]


class Side(Record):
    """One run, and the policy with which it ended."""

    run_id: str
    display_name: str
    policy_version: str
    prompts: int
    """Held-out prompts that the policy answered."""


class Measure(Record):
    """One number of both policies."""

    name: str
    a: Estimate | None
    b: Estimate | None
    difference: Estimate | None = None
    """b - a, paired by prompt, over the prompts that both answered; none where the two are no like numbers."""
    note: str = ""
    """Why there is no difference."""


class CurvePoint(Record):
    step: int
    value: float


class ObjectiveCurve(Record):
    """The policy under training on watched held-out prompts, one mean for each watched step."""

    objective: str
    judge: Judge
    a: tuple[CurvePoint, ...]
    b: tuple[CurvePoint, ...]


class ReplyPair(Record):
    """Both policies' replies to one prompt."""

    prompt: str
    a: str
    b: str
    distance: float
    by: str
    """What the distance is of."""


class RunComparison(Record):
    a: Side
    b: Side
    shared_prompts: int
    measures: tuple[Measure, ...]
    settings: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Dotted key -> the two values, of the settings that differ."""
    curves: tuple[ObjectiveCurve, ...] = ()
    replies: tuple[ReplyPair, ...] = ()
    """Largest distance first; equal replies are left out."""
