"""What learner processes are told and what they answer: records, so that it crosses processes as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from rlhf_core.config.learner import LearnerConfig
from rlhf_core.config.ppo import PpoConfig
from rlhf_core.config.run import ModelConfig, RewardConfig, SftConfig
from rlhf_core.constitution.principle import Principle
from rlhf_core.data.reward_examples import GradedLines, Label, LabelledPair, Ranking, Rating, StepLabels
from rlhf_core.records.base import Record
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import StepMetrics
from rlhf_core.records.samples import Demonstration, Prompt, Sample


class SavedRewardModel(Record):
    """A reward model's folder, the objective whose heads are meant, and its base."""

    objective: str
    folder: Path
    base: str


class PpoTask(Record):
    """PPO from the policy in a folder. The weights come with each step."""

    kind: Literal["ppo"] = "ppo"
    policy: Path
    reward_models: tuple[SavedRewardModel, ...]
    norm_pack: NormPack
    prompts: tuple[Prompt, ...]
    replay: tuple[Demonstration, ...]
    principles: tuple[Principle, ...]
    config: PpoConfig
    max_tokens: int
    sampled_in: Path = Path()
    """Where the adapters are put for the server of `model.sampler`, which reads them there."""


class SftTask(Record):
    """Supervised fine-tuning of a new adapter."""

    kind: Literal["sft"] = "sft"
    demonstrations: tuple[Demonstration, ...]
    config: SftConfig
    texts: tuple[tuple[int, ...], ...] = ()
    """Of the base, as tokens, to be rehearsed."""


class NamedLabel(Record):
    """A label under the name of its kind: as JSON, one kind looks like another."""

    pair: LabelledPair | None = None
    ranking: Ranking | None = None
    rating: Rating | None = None
    steps: StepLabels | None = None
    graded: GradedLines | None = None

    @classmethod
    def of(cls, label: Label) -> NamedLabel:
        """Name a label's kind."""
        kinds = {LabelledPair: "pair", Ranking: "ranking", Rating: "rating", StepLabels: "steps", GradedLines: "graded"}
        return cls.model_validate({kinds[type(label)]: label})

    @property
    def label(self) -> Label:
        """The label itself."""
        found = self.pair or self.ranking or self.rating or self.steps or self.graded
        assert found is not None
        return found


class RewardTask(Record):
    """Training of new reward models, one for each objective, on one trunk; `labels` and `stop_on` in their order."""

    kind: Literal["reward"] = "reward"
    objectives: tuple[str, ...]
    labels: tuple[tuple[NamedLabel, ...], ...]
    stop_on: tuple[tuple[NamedLabel, ...], ...]
    config: RewardConfig
    reference_tokens: int


class Job(Record):
    """All that processes need to learn together."""

    path: str
    """Of the base model's files."""
    model: ModelConfig
    learner: LearnerConfig
    seed: int
    folder: Path
    """Where they note what goes wrong; on a disk that all their machines have."""
    checkpoint: Path | None
    task: PpoTask | SftTask | RewardTask = Field(discriminator="kind")

    @property
    def threads(self) -> int:
        """Torch threads of each process."""
        return self.learner.threads or max(1, self.model.threads // self.learner.processes_here)


class Command(Record):
    """`step`: learn until the next step is done. `save`: write what is needed to go on. `write`: what was learned."""

    do: Literal["step", "save", "write", "end"]
    folder: Path = Path()
    weights: dict[str, float] = Field(default_factory=dict)
    """Of the objectives in a step of PPO."""


class Answer(Record):
    """What a step did; no metrics where training was over before it. Scores (K, B) are of the samples (B)."""

    metrics: StepMetrics | None = None
    samples: tuple[Sample, ...] = ()
    scores: tuple[tuple[float, ...], ...] = ()


class Failure(Record):
    """What one process found wrong: the name of the error's class, and what it says."""

    kind: str
    message: str
    field: str = ""
