"""What a cluster is asked to do and what it is made of: the file that `charter plan --cluster` reads."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import ByteSize, Field, model_validator

from rlhf_core.config.base import Settings

MOST_PARAMETERS = 1e15
MOST_WORKERS = 20_000
MOST_CALLS = 2_000_000
"""Calls of samplers in all simulated steps together: beyond these numbers a plan would take hours."""


class ModelShape(Settings):
    """A decoder, as far as time and memory depend on it."""

    parameters: float = Field(gt=0, le=MOST_PARAMETERS)
    layers: int = Field(ge=1, le=10_000)
    hidden: int = Field(ge=1, le=1_000_000)
    kv_heads: int = Field(ge=1, le=10_000)
    head_size: int = Field(ge=1, le=10_000)
    bytes_per_weight: float = Field(default=2, gt=0, le=8)
    adapter_parameters: float = Field(default=0, ge=0, le=MOST_PARAMETERS)
    """Numbers of a low-rank adapter; 0 where all weights are trained."""

    @property
    def weight_bytes(self) -> float:
        return self.parameters * self.bytes_per_weight

    @property
    def position_bytes(self) -> float:
        """Keys and values of one position."""
        return 2 * self.layers * self.kv_heads * self.head_size * self.bytes_per_weight

    @property
    def published_bytes(self) -> float:
        """What a sampler fetches of each new policy: an adapter in 32-bit floats, or all weights."""
        return 4 * self.adapter_parameters or self.weight_bytes


class StepShape(Settings):
    """A step of PPO. Lengths of responses are drawn: log-normal, cut at `longest`."""

    prompts: int = Field(ge=1, le=100_000)
    samples_per_prompt: int = Field(ge=1, le=1000)
    prompt_tokens: int = Field(ge=1, le=10_000_000)
    response_tokens: float = Field(gt=0)
    """The mean."""
    response_spread: float = Field(default=0.5, ge=0, le=100)
    """Standard deviation over the mean."""
    longest: int = Field(ge=1, le=10_000_000)
    """Tokens at which a response is cut."""
    epochs: int = Field(default=2, ge=1, le=1000)
    minibatch: int = Field(default=256, ge=1)
    """Samples of one update, over all learners."""
    rows_per_call: int = Field(default=64, ge=1)
    """Responses that a sampler writes together, and hands on together."""
    rows_per_pass: int = Field(default=8, ge=1, le=100_000)
    """Samples that a learner passes at once with gradients: `ppo.micro_batch_size`."""

    @property
    def samples(self) -> int:
        return self.prompts * self.samples_per_prompt

    @property
    def calls(self) -> int:
        """Calls of a sampler in which a step's responses are written."""
        return -(-self.samples // self.rows_per_call)


class Machine(Settings):
    """What all machines are like."""

    gpus: int = Field(ge=1)
    peak_flops: float = Field(gt=0)
    """Of one GPU, in the precision of the weights, a second."""
    memory: ByteSize = Field(gt=0)
    """Of one GPU."""
    bandwidth: float = Field(gt=0)
    """Of one GPU's memory, in bytes a second."""
    network: float = Field(gt=0)
    """Of one machine, in bytes a second."""
    price: float = Field(ge=0)
    """Of one GPU for an hour, in the currency of your bill."""


class Workers(Settings):
    """How many GPUs do what."""

    samplers: int = Field(ge=1, le=MOST_WORKERS)
    scorers: int = Field(ge=1, le=MOST_WORKERS)
    learners: int = Field(ge=1, le=MOST_WORKERS)

    @property
    def gpus(self) -> int:
        return self.samplers + self.scorers + self.learners


class Efficiency(Settings):
    """Which part of what the data sheet says is reached; measure it, or take what others publish."""

    decode: float = Field(default=0.5, gt=0, le=1)
    """Of the memory's bandwidth, where responses are written."""
    read: float = Field(default=0.4, gt=0, le=1)
    """Of the FLOPs, where prompts and conversations are read."""
    learn: float = Field(default=0.4, gt=0, le=1)
    """Of the FLOPs, in updates."""
    network: float = Field(default=0.7, gt=0, le=1)


class Linear(Settings):
    """Measured seconds of a call, and of each sample in it."""

    call_seconds: float = Field(default=0, ge=0)
    item_seconds: float = Field(gt=0)


class Measured(Settings):
    """Seconds of one worker as they were measured, in place of what follows from its data sheet.

    `charter run --plan --json` measures them on the machine where it runs.
    """

    write: Linear | None = None
    score: Linear | None = None
    """Of all objectives."""
    learn: Linear | None = None


class Failures(Settings):
    """How often a GPU fails, and what that takes."""

    hours_between: float = Field(default=2000, gt=0)
    """Mean time from one failure of a GPU to its next."""
    repair_minutes: float = Field(default=15, ge=0)
    """Until it, or another one in its place, works again."""
    lease_seconds: float = Field(default=30, ge=0)
    """Until another worker takes up what a lost one had."""
    checkpoint_steps: int = Field(default=10, ge=1)
    """Steps from one checkpoint of the learner to the next: what one of its failures costs at most."""


class Cluster(Settings):
    """One cluster and the PPO that it does."""

    name: str = ""
    policy: ModelShape
    reward: ModelShape | None = None
    """The reward models' base; none: the policy's shape."""
    objectives: int = Field(ge=1)
    layout: Literal["adapters", "trunk"] = "trunk"
    """Whether each objective reads a conversation with an adapter of its own, or all share one pass."""
    step: StepShape
    machine: Machine
    workers: Workers
    efficiency: Efficiency = Efficiency()
    measured: Measured = Measured()
    failures: Failures = Failures()
    overlap: Literal["none", "scoring", "rollouts"] = "none"
    """`none`: a step's parts follow one another. `scoring`: responses are scored as they are finished. `rollouts`:
    beside that the next step's responses are written, by the policy of the step before, while this one is learned."""
    sharded: bool = True
    """Whether learners hold a part of the weights each (FSDP), or all of them. Parts go with an adapter alone."""
    simulated_steps: int = Field(default=200, ge=2)
    """The more, the better failures show, which are rare."""
    seed: int = Field(default=0, ge=0)

    @property
    def reward_shape(self) -> ModelShape:
        return self.reward or self.policy

    @property
    def passes(self) -> int:
        """Passes in which all objectives score a conversation."""
        return 1 if self.layout == "trunk" else self.objectives

    @model_validator(mode="after")
    def _can_be_simulated(self) -> Self:
        if (calls := self.step.calls * self.simulated_steps) > MOST_CALLS:
            raise ValueError(
                f"simulated_steps is {self.simulated_steps} and each takes {self.step.calls} calls by "
                f"step.rows_per_call, {calls} in all; allowed: at most {MOST_CALLS}"
            )
        return self

    @model_validator(mode="after")
    def _weights_that_learn_are_whole(self) -> Self:
        if self.sharded and not self.policy.adapter_parameters:
            raise ValueError(
                "policy.adapter_parameters is 0 and sharded is true; allowed with it: false, as learners divide the "
                "weights under an adapter alone"
            )
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        if self.step.response_tokens > self.step.longest:
            raise ValueError(
                f"step.response_tokens is {self.step.response_tokens:g} and step.longest {self.step.longest}; "
                "allowed: a mean of at most the longest"
            )
        return self
