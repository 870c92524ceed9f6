"""What is said and judged: the records that cross a process, a file or the store. Frozen; each names what made it."""

from __future__ import annotations

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "heldout"]
Verdict = Literal["complies", "borderline", "violates"]
Choice = Literal["a", "b", "tie", "both_bad", "skip"]
Protocol = Literal["notes", "logprobs", "cot", "text", "pointwise"]
"""How a judge is asked: for the labels' log-probabilities (after notes that all questions on a pair share, at once, or
after a reasoning on each question), for words, or for a critique of each reply alone."""

BASE_POLICY = "base"
"""The policy version of the base model with no adapter."""


def content_id(kind: str, *parts: object) -> str:
    """Deterministic id: the same content gives the same id, so that a repeated write changes nothing."""
    text = "\x1f".join(str(part) for part in parts)
    return f"{kind}-{hashlib.sha256(text.encode()).hexdigest()[:20]}"


UNIFORM_SLICE = 0.2
"""Share of comparisons that people are asked about with no regard to what the AI made of them."""


def uniform_draw(identity: str) -> float:
    """A number in [0, 1) that is fixed by the id and says nothing of the content."""
    return int(hashlib.sha256(f"draw\x1f{identity}".encode()).hexdigest()[:8], 16) / 2**32


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
    written: str = ""
    """What the reviser wrote, where `after` is that without a label at its start."""


class Demonstration(Record):
    """A prompt with the response to imitate in supervised fine-tuning."""

    prompt: Prompt
    response: str
    source: str = "user"


class Usage(Record):
    """What endpoints were asked for, and its price. Models of this process cost nothing here."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    unmetered: int = 0
    """Answers that came without a count of tokens; they are in no sum."""
    cost: float = 0.0
    """In the currency of the configured prices."""

    def plus(self, other: Usage, sign: int = 1) -> Usage:
        """The sum, or with a sign of -1 the difference."""
        return Usage(**{name: value + sign * getattr(other, name) for name, value in self})


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
    """Probability that the judge gives to the two labels together; 0 when its words could not be read."""
    run_id: str = ""
    protocol: Protocol = "logprobs"
    text: str = ""
    """What the judge wrote, where it was asked to write."""
    reason: str = ""
    """Why this vote abstains: the judge's answer could not be read."""


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
    uniform: bool = False
    """The comparison was drawn with no regard to what the AI made of it, so the label counts in unbiased measures."""
    calibration_id: str = ""
    """The calibration that the probability went through; empty when there was none."""
    ungated: bool = False
    """The judge had not passed its gate when this label was derived; stamped on all that descends from it."""
