"""What a plan says: unit costs as they were measured, and of each stage the calls, tokens, time and memory expected."""

from __future__ import annotations

import math

from pydantic import Field

from rlhf_core.planning.cluster.description import Measured
from rlhf_core.records.base import Record, Stage


class Cost(Record):
    """Of one kind of work: seconds of a call and of each item in it, and what an item asks of a model."""

    call_seconds: float = Field(ge=0)
    item_seconds: float = Field(ge=0)
    requests: float = 1.0
    """Of the model, for an item: replies, critiques, comparisons."""
    tokens: float = 0.0
    """Read and written for an item."""

    def seconds(self, items: float, per_call: int) -> float:
        """Return the time of so many items, at most `per_call` of them in a call."""
        return math.ceil(items / per_call) * self.call_seconds + items * self.item_seconds if items else 0.0

    @classmethod
    def between(cls, few: Timed, many: Timed) -> Cost:
        """Return the line through two measurements of the same work, whose items ask the same.

        Where noise makes it fall, all time is the items'.
        """
        slope = (many.seconds - few.seconds) / (many.items - few.items)
        item = min(max(slope, 0.0), many.seconds / many.items) if slope > 0 else many.seconds / many.items
        return cls(
            call_seconds=max(0.0, many.seconds - item * many.items),
            item_seconds=item,
            requests=(few.requests + many.requests) / (few.items + many.items),
            tokens=(few.tokens + many.tokens) / (few.items + many.items),
        )


class Timed(Record):
    """One measurement: so many items took so long, and asked the model for so much."""

    items: int = Field(gt=0)
    seconds: float
    requests: float = 0.0
    tokens: float = 0.0


class Costs(Record):
    """The unit costs of a run on this machine."""

    write: Cost
    """A reply of the policy."""
    criticise: Cost | None = None
    """An answer through all its rounds of critique and revision; None where an endpoint does it."""
    compare: Cost | None = None
    """A pair under every principle that votes on it; None where an endpoint does it."""
    tune: Cost
    """An update of supervised fine-tuning."""
    reward: Cost
    """An update of the reward models of one adapter."""
    score: Cost
    """A reply, scored by every objective's reward model."""
    step: Cost
    """A step of PPO."""
    rollout_share: float = Field(ge=0, le=1)
    """Share of a step in which responses are written and scored."""
    skill: Cost | None = None
    """An item of each skill in the built-in world's test."""


class Yields(Record):
    """What comes of the feedback, for each answer and pair: as measured on a few."""

    demonstrations: float = 1.0
    """Examples for fine-tuning, for each answer that is criticised."""
    examples: dict[str, float] = Field(default_factory=dict)
    """Objective -> what its reward model learns from, for each pair."""


class StagePlan(Record):
    """What is expected of a stage; None is what nobody measured."""

    stage: Stage
    calls: int | None
    tokens: int | None
    seconds: float | None
    peak_bytes: int | None
    note: str = ""


class RunPlan(Record):
    """What a run of a configuration would take on this machine."""

    base_model: str
    threads: int
    settings: dict[str, str]
    """Dotted path -> value, of those that decide on time and memory."""
    stages: tuple[StagePlan, ...]
    costs: Costs
    yields: Yields
    measured: Measured
    """The costs of a worker like this machine, as a description of a cluster takes them."""
    probe_seconds: float

    @property
    def seconds(self) -> float:
        """Of all stages whose time was measured."""
        return sum(stage.seconds or 0.0 for stage in self.stages)

    @property
    def peak_bytes(self) -> int:
        """The most that any stage takes."""
        return max((stage.peak_bytes or 0 for stage in self.stages), default=0)
