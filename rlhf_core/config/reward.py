"""How reward models are made: part of a run's configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.config.base import Settings, Tune

Aggregate = Literal["mean", "uwo", "wco"]
StepPool = Literal["min", "mean", "sum", "last"]
EVERY = "*"


class RewardConfig(Settings):
    tune: Tune = "lora"
    """Whether a low-rank adapter learns or all weights of the base, of which the models then keep a copy of their own;
    the latter wants a learning rate a hundred times lower."""
    epochs: int = Field(default=3, ge=1)
    batch_size: int = Field(default=16, ge=1)
    micro_batch_size: int | None = Field(default=None, ge=1)
    """Examples of one pass, each with all of its replies; an update adds up their gradients. None passes the whole
    batch at once."""
    learning_rate: float = Field(default=1e-3, gt=0)
    layout: Literal["adapters", "trunk"] = "adapters"
    """`adapters`: one adapter for each objective. `trunk`: one adapter with heads for each, so that all objectives are
    scored in one pass."""
    base_model: str | None = None
    """Own base with its own tokenizer, a folder or a Hugging Face id of any decoder or encoder; none: the policy's."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Tokens of a conversation that are read; the beginning of a longer one is cut. None refuses what does not fit."""
    layers: int | None = Field(default=None, ge=1)
    """Layers of the base that are read, counted from below; none reads all. The middle ones tell as well what a reply
    is about, and each that is left out is time saved in training and in scoring."""
    members: int = Field(default=3, ge=1, le=16)
    """Heads of the ensemble, each trained on its own bootstrap of the pairs."""
    aggregate: Aggregate = "mean"
    """The ensemble's score: the mean, `uwo` (mean less `uwo_coef` x variance) or `wco` (the least); the last two in
    units of each member's own spread (Coste et al. 2023)."""
    uwo_coef: float = Field(default=0.1, ge=0)
    heldout_share: float = Field(default=0.15, gt=0, lt=1)
    """Share of prompts kept to measure the model."""
    stop_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the other prompts kept to stop on: the epoch of least loss on them is kept. 0 trains to the end."""
    auditor_share: float = Field(default=0.0, ge=0, lt=1)
    """Share of the prompts not kept back whose labels train a second model of each objective, its auditor, that nothing
    is trained against. 0 trains none."""
    flip_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the AI's labels that are turned round, to study what reward models and PPO make of noise."""
    human_weight: float = Field(default=3.0, ge=0)
    """Loss weight of a human label against 1 for an AI label."""
    center_coef: float = Field(default=0.01, ge=0)
    """Weight of the penalty on (r_a + r_b)^2, which keeps scores near zero."""
    ties: Literal["half", "davidson"] = "half"
    """A tie between two replies is a label of 0.5, or an outcome of its own with a learned weight (Davidson 1970)."""
    correct_length: bool = False
    """Take off what a token is worth by itself, fitted on the replies behind the labels."""
    reference: bool = False
    """Read the base's own answer to the prompt before the reply: beside it a reply that is beside the point shows, and
    fewer labels are needed. Each prompt is answered once more."""
    process: tuple[str, ...] = ()
    """Objectives whose models score each line of a reply, not only its end; PPO then pays each line where it ends. `*`
    stands for all of them."""
    graded: bool = True
    """Learn from what the judge said of single lines, where it said so and `process` names the objective: from the
    lines that a critique quotes, and from what notes say that each line gives. Its pairs then only measure."""
    grade_outliers: float | None = Field(default=None, gt=0)
    """How far off, in root mean squares of the grades, a line costs in proportion and no longer by its square (Huber
    1964): where some labels are turned round, the others then decide. None: always by the square."""
    step_pool: StepPool = "min"
    """The score of a reply from those of its lines: the least, the mean, the sum, or the last."""

    @property
    def named_by_line(self) -> tuple[str, ...]:
        """The objectives that `process` names one by one."""
        return tuple(name for name in self.process if name != EVERY)

    def reads_lines(self, objective: str) -> bool:
        """Tell whether this objective's model scores each line of a reply."""
        return objective in self.process or EVERY in self.process
