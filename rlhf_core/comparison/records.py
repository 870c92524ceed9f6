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
    in_production: bool = False
    """The alias `production` led to this policy when the two were compared."""
    in_production_instead: str = ""
    """Another policy of the same run, where it led to that one."""


class Measure(Record):
    """One number of both policies: over the prompts that both answered, or else over all of each."""

    name: str
    a: Estimate | None
    b: Estimate | None
    difference: Estimate | None = None
    """b - a, paired by prompt; none where the two are no like numbers."""
    note: str = ""
    """Why there is no difference."""


class Part(Record):
    """One objective in the verdict. More of it is better."""

    objective: str
    weight: float
    unit: float
    """What the numbers are divided by before they are weighted: one standard deviation of the reference policy."""
    a: Estimate
    b: Estimate
    difference: Estimate
    """b - a, paired by prompt."""
    best: float | None = None
    """What a reply gets with which nothing is wrong, where that is known."""


class Verdict(Record):
    """Whether the second policy is better than the first, by one judge, on the prompts that both answered."""

    judge: Judge
    prompts: int
    parts: tuple[Part, ...]
    weights_differ: bool = False
    """The two runs have other weights; these are those of the second."""
    weighted: Estimate | None = None
    """The change of sum(weight * value / unit) / sum(weight), paired by prompt."""
    note: str = ""
    """Why there is no weighted sum."""


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
    verdict: Verdict | None = None
    """None where no judge knows both policies, or their replies were drawn otherwise."""
    settings: dict[str, tuple[str, str]] = Field(default_factory=dict)
    """Dotted key -> the two values, of the settings that differ."""
    curves: tuple[ObjectiveCurve, ...] = ()
    drawn_otherwise: str = ""
    """How the two runs drew the replies that are measured, where that differs: then no difference is the policies' own,
    and none is told."""
    replies: tuple[ReplyPair, ...] = ()
    """Largest distance first; equal replies are left out."""
