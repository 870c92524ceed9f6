"""The records that cross a process, a file or the store. Frozen; every one names what made it."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "heldout"]
Verdict = Literal["complies", "borderline", "violates"]
Choice = Literal["a", "b", "tie", "both_bad", "skip"]
Stage = Literal["critique", "sft", "label", "reward", "norm_pack", "ppo", "evaluate", "report"]
RunState = Literal["QUEUED", "RUNNING", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED"]

STAGES: tuple[Stage, ...] = ("critique", "sft", "label", "reward", "norm_pack", "ppo", "evaluate", "report")
BASE_POLICY = "base"
"""The policy version of the base model with no adapter."""


def content_id(kind: str, *parts: object) -> str:
    """Deterministic id: the same content gives the same id, so that a repeated write changes nothing."""
    text = "\x1f".join(str(part) for part in parts)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


class Record(BaseModel):
    """Base of all records: frozen, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Message(Record):
    role: Role
    content: str


class Prompt(Record):
    """What the policy is asked: a conversation that ends with the user's turn."""

    id: str
    messages: tuple[Message, ...] = Field(min_length=1)
    split: Split = "train"
    source: str = "user"
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, text: str, split: Split = "train", source: str = "user", tags: tuple[str, ...] = ()) -> Prompt:
        """A one-turn prompt, its id derived from its text."""
        return cls.from_messages((Message(role="user", content=text),), split, source, tags)

    @classmethod
    def from_messages(
        cls, messages: tuple[Message, ...], split: Split = "train", source: str = "user", tags: tuple[str, ...] = ()
    ) -> Prompt:
        identity = content_id("prompt", *(f"{m.role}:{m.content}" for m in messages))
        return cls(id=identity, messages=messages, split=split, source=source, tags=tags)


class Sample(Record):
    """A prompt's response, and the policy version that wrote it."""

    id: str
    prompt: Prompt
    response: str
    policy_version: str
    finished: bool = True
    """False when the response was cut at the token limit."""
    tokens: int = 0
    """Response tokens, the end token included."""
    logprob: float = 0.0
    """Sum of the behaviour log-probabilities of the response tokens, in nats, at the sampling temperature."""
    seed: int = 0
    run_id: str = ""
    stage: str = ""


class Critique(Record):
    """One principle's verdict on one response."""

    sample_id: str
    principle_id: str
    principle_hash: str
    constitution_hash: str
    template_hash: str
    critic: str
    verdict: Verdict | None
    """None when the critic's text could not be parsed; `reason` says why."""
    text: str
    spans: tuple[str, ...] = ()
    """Quotations that occur word for word in the response."""
    reason: str = ""


class Revision(Record):
    """One step of critique and revision. Rejected steps are kept, with the reason."""

    id: str
    run_id: str
    sample_id: str
    round: int
    critique: Critique
    before: str
    after: str
    accepted: bool
    reason: str = ""


class Demonstration(Record):
    """A prompt with the response to imitate in supervised fine-tuning."""

    prompt: Prompt
    response: str
    source: str = "user"


class Comparison(Record):
    """Two samples of one prompt, to be judged."""

    id: str
    a: Sample
    b: Sample
    run_id: str = ""

    @property
    def prompt(self) -> Prompt:
        return self.a.prompt

    def swap(self) -> Comparison:
        return self.model_copy(update={"a": self.b, "b": self.a})


class Vote(Record):
    """The record of a judgement: one comparison, one principle, one order.

    `logprob_a` and `logprob_b` belong to samples a and b of the comparison, whatever the order shown.
    """

    id: str
    comparison_id: str
    principle_id: str
    principle_hash: str
    template_hash: str
    constitution_hash: str
    judge: str
    swapped: bool
    """True when sample b was shown first."""
    logprob_a: float
    logprob_b: float
    label_mass: float
    """Probability that the judge gives to the two labels together."""
    run_id: str = ""


class Preference(Record):
    """One objective's label on one comparison. `probability` is that of a being better than b."""

    id: str
    comparison_id: str
    objective: str
    labeler: str
    """`ai:<judge>` or `human:<name>`."""
    choice: Choice
    probability: float = Field(default=0.5, ge=0, le=1)
    abstained: bool = False
    reason: str = ""
    gap: float = 0.0
    """Largest difference between the two orders' probabilities over the votes (position bias)."""
    constitution_hash: str = ""
    run_id: str = ""
    weight: float = Field(default=1.0, ge=0)


class PolicyVersion(Record):
    """One adapter. `artifact` is its digest in the artifact store; the base has none."""

    id: str
    run_id: str
    stage: str
    parent: str
    base_model: str
    artifact: str
    step: int = 0


class RewardModelVersion(Record):
    """One objective's reward model: adapter and heads in one artifact, with its held-out quality."""

    id: str
    run_id: str
    objective: str
    base_model: str
    artifact: str
    constitution_hash: str
    pairs: int
    human_pairs: int
    accuracy: float
    accuracy_n: int


class Score(Record):
    """One objective's scalar for one sample: an unbounded logit."""

    sample_id: str
    objective: str
    reward_model: str
    score: float
    spread: float = 0.0
    """Standard deviation over the ensemble's members."""


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


class StepMetrics(Record):
    """What a training step prints. `values` holds plain numbers by name."""

    stage: str
    step: int
    steps: int
    values: dict[str, float]


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
    reward_models: dict[str, str] = {}
    """Objective -> reward model version."""
    norm_pack: str = ""
    counts: dict[str, int] = {}
    """Accounting: what came in, what was accepted, what was rejected by reason."""
    numbers: dict[str, float] = {}
    seconds: float = 0.0


class Checkpoint(Record):
    """All that a stage needs to go on after `step`: weights, optimizer, RNG, in one artifact."""

    run_id: str
    stage: Stage
    step: int
    artifact: str


class Run(Record):
    """A run as the store and the wire show it. `config` is the resolved configuration as JSON."""

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


class RunEvent(Record):
    """One entry of a run's history; `sequence` grows by one within the run."""

    run_id: str
    sequence: int
    kind: str
    """`state`, `stage`, `metrics` or `note`."""
    body: str
    """JSON."""
    created_at: str
