"""What runs leave behind: versions, scores, results and events. Frozen; each names what made it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.records import Record, content_id
from rlhf_core.reward_records import RewardModelVersion as RewardModelVersion

Stage = Literal["critique", "sft", "label", "reward", "norm_pack", "ppo", "control", "evaluate", "report"]
Truth = Literal["human", "gold"]
Written = Literal["display_name", "note"]  # what people may change on a run
RunState = Literal["QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"]

STAGES: tuple[Stage, ...] = ("critique", "sft", "label", "reward", "norm_pack", "ppo", "control", "evaluate", "report")


class PolicyVersion(Record):
    """One adapter. `artifact` is its digest in the artifact store; the base has none."""

    id: str
    run_id: str
    stage: str
    parent: str
    base_model: str
    artifact: str
    step: int = 0
    ungated: bool = False
    """A judge that had not passed its gate labelled what this policy learned from."""

    @property
    def is_control(self) -> bool:
        """Made to be set beside another, and meant for nobody's use: no reward was paid for it."""
        return self.stage == "control"


class Calibration(Record):
    """The temperature that makes one judge's probabilities of one objective honest; p = sigmoid(log-odds / T).

    Errors before are those of T = 1; errors after are of each fold under the temperature of the others.
    """

    id: str
    run_id: str
    judge: str
    objective: str
    constitution_hash: str
    truth: Truth
    temperature: float
    pairs: int
    folds: int
    brier_before: float
    brier_after: float
    ece_before: float
    """Expected calibration error (Naeini et al. 2015): mean |accuracy - confidence| over bins of confidence."""
    ece_after: float
    applied: bool
    """False where it only measures: gold never enters a label."""


class ConstitutionFile(Record):
    """A text of a constitution; several may mean the same."""

    id: str
    """First 16 hex digits of the sha256 of its bytes."""
    constitution_hash: str
    source: str
    text: str


class JudgeGate(Record):
    """Whether one judge may label one objective: its agreement with people, or with a world's gold."""

    id: str
    run_id: str
    judge: str
    objective: str
    constitution_hash: str
    truth: Truth
    pairs: int
    """Pairs with a better reply in truth, on which the judge did not abstain."""
    abstained: int
    """Such pairs on which it did."""
    agreement: float
    agreement_low: float
    """Lower end of the 95 % interval (Wilson 1927)."""
    longer_reply: float
    """Agreement of always preferring the longer reply, on the same pairs."""
    consistency: float
    """Share of all these pairs, abstentions included, whose better reply is the same in both orders."""
    passed: bool
    reason: str
    """What falls short; empty when the gate is passed."""


class Score(Record):
    """One objective's scalar for one sample: an unbounded logit."""

    sample_id: str
    objective: str
    reward_model: str
    score: float
    spread: float = 0.0
    """Standard deviation over the ensemble's members."""
    steps: tuple[float, ...] = ()
    """Scores of the reply's lines, where the model scores lines."""


class NormPack(Record):
    """Immutable scale of a run's reward models, from samples of the reference policy.

    `correlation` is (K, K) in the order of `objectives`. A new reward model gets a new pack.
    """

    id: str
    run_id: str
    policy_version: str
    objectives: tuple[str, ...]
    reward_models: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    quantiles: tuple[tuple[float, ...], ...]
    """Per objective the 1, 5, 50, 85, 95 and 99 % quantiles."""
    correlation: tuple[tuple[float, ...], ...]
    length_slope: tuple[float, ...]
    mean_length: float
    n: int
    temperature: float = 1.0
    """At which the samples were drawn: where rollouts run at another, the reference policy itself is not at 0."""


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


class GoldScore(Record):
    """A world's own grade of one sample; `kind` is an objective, or `harm:<kind of hazard>`."""

    sample_id: str
    kind: str
    score: float


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


class Checkpoint(Record):
    """All that a stage needs to go on after `step`: weights, optimizer, RNG, in one artifact."""

    run_id: str
    stage: Stage
    step: int
    artifact: str


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
