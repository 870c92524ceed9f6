"""What is asked and answered: prompts, samples and pairs of them. Each names what made it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.records.base import Record, content_id

Role = Literal["system", "user", "assistant"]
Split = Literal["train", "heldout"]

BASE_POLICY = "base"
"""The policy version of the base model with no adapter."""


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
        """Make a one-turn prompt, its id derived from its text."""
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
    kl: float | None = None
    """Estimate of KL(policy || reference) on this response in nats, where PPO drew it."""
    staleness: int | None = None
    """Steps by which the policy that wrote it was behind the one that learned from it, where PPO drew it."""


class Demonstration(Record):
    """A prompt with the response to imitate in supervised fine-tuning."""

    prompt: Prompt
    response: str
    source: str = "user"
    ended: bool = True
    """False where the response was cut at the limit: nobody knows how it would have gone on, or that it would end."""


class Comparison(Record):
    """Two samples of one prompt, to be judged."""

    id: str
    a: Sample
    b: Sample
    run_id: str = ""

    @classmethod
    def of(cls, a: Sample, b: Sample, run_id: str) -> Comparison:
        """Compare two samples; the same two texts are the same comparison in every run."""
        return cls(id=content_id("comparison", a.prompt.id, a.response, b.response), a=a, b=b, run_id=run_id)

    @property
    def prompt(self) -> Prompt:
        return self.a.prompt

    def swap(self) -> Comparison:
        return self.model_copy(update={"a": self.b, "b": self.a})
