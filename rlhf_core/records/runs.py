"""Runs as they are stored and shown: their state, steps, results and events."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.records.base import Record, RunState, RunStatus, Stage, content_id


class StepMetrics(Record):
    """What a training step prints. `values` holds plain numbers by name."""

    stage: str
    step: int
    steps: int
    values: dict[str, float]


class WatchPoint(Record):
    """One objective's scores of the policy under training on the same held-out prompts, one reply to each.

    Step 0 is the reference policy. Scores are in standard deviations of the reference policy's scores; gold, where a
    world knows it, in its own unit.
    """

    run_id: str
    step: int
    objective: str
    kl: float
    """Estimate of KL(policy || reference) on these replies, in nats per response."""
    proxy: tuple[float, ...]
    """By the reward model that PPO is paid by."""
    auditor: tuple[float, ...] = ()
    gold: tuple[float, ...] = ()


class WeightChange(Record):
    """Weights that someone gave to a run while it ran."""

    run_id: str
    weights: dict[str, float]
    from_step: int | None = None
    """The PPO step that took them up, counted from 1; none while they wait."""


class StageResult(Record):
    """What a finished stage hands to the ones after it."""

    run_id: str
    stage: Stage
    policy_version: str = ""
    reward_models: dict[str, str] = Field(default_factory=dict)
    """Objective -> reward model version."""
    norm_pack: str = ""
    auditors: dict[str, str] = Field(default_factory=dict)
    """Objective -> its auditor's reward model version, where there are auditors."""
    auditor_pack: str = ""
    """The auditors' NormPack."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Accounting: what came in, what was accepted, what was rejected by reason."""
    numbers: dict[str, float] = Field(default_factory=dict)
    seconds: float = 0.0


class Run(Record):
    """A run as the store and the wire show it: `config` is JSON, `requested` what its worker has been asked for."""

    id: str
    kind: str
    state: RunState
    config: str
    constitution_hash: str = ""
    stage: str = ""
    step: int = 0
    steps: int = 0
    error: str = ""
    attempt: int = 0
    fence: int = 0
    created_at: str = ""
    updated_at: str = ""
    requested: Literal["", "PAUSED", "CANCELLED"] = ""
    display_name: str = ""
    note: str = ""
    tags: dict[str, str] = Field(default_factory=dict)
    lost: bool = False
    """Its worker is gone, or its lease has run out: nobody carries it out, whatever `state` says."""
    step_seconds: float = 0.0
    """How long its last few steps took, each; 0 where unknown or not at work."""

    @property
    def status(self) -> RunStatus:
        """What is going on, where `state` says what the store holds."""
        if self.state != "RUNNING":
            return self.state
        if self.requested:
            return "PAUSING" if self.requested == "PAUSED" else "CANCELLING"
        return "LOST" if self.lost else "RUNNING"

    @property
    def short_id(self) -> str:
        """The last part of the id, which tells it from all others of a store as a rule."""
        return self.id.rpartition("-")[2]

    @property
    def etag(self) -> str:
        """Changes with all that people decide on; the run's own progress leaves it as it is."""
        return content_id("etag", self.id, self.state, self.requested, self.attempt, self.display_name, self.note)


class RunEvent(Record):
    """One entry of a run's history; `sequence` grows by one within the run."""

    run_id: str
    sequence: int
    kind: str
    """`state`, `stage`, `metrics` or `note`."""
    body: str
    """JSON."""
    created_at: str
