"""What is trained, and how it scores: policy and reward model versions, their scale, checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rlhf_core.records.base import Record, Stage

QualitySource = Literal["all", "ai", "human", "data"]


class RewardQuality(Record):
    """On held-out labels of one source; what there are no labels for is None."""

    source: QualitySource
    pairs: int = 0
    """Pairs of which the label prefers one reply; a ranking gives several."""
    accuracy: float | None = None
    """Share of these pairs that the model orders like the label; equal scores count half."""
    accuracy_low: float | None = None
    accuracy_high: float | None = None
    """95 % interval (Wilson 1927); pairs of one prompt are not independent, and count for fewer than they are."""
    longer_reply: float | None = None
    """Accuracy of always preferring the longer reply, in words; of the shorter one it is 1 less this."""
    brier: float | None = None
    """Mean (s(d) - p)^2 of the probability by the difference of raw scores and the label's (Brier 1950)."""
    ece: float | None = None
    """Expected calibration error of the same (Naeini et al. 2015): mean |label - confidence| over ten bins."""
    length_correlation: float | None = None
    """Correlation of the difference in score with that in words, within pairs."""
    ratings: int = 0
    rating_correlation: float | None = None
    """Rank correlation of score and rating (Spearman 1904)."""
    steps: int = 0
    step_accuracy: float | None = None
    """Share of the steps labelled good or bad whose score has that sign."""


class RewardModelVersion(Record):
    """One objective's reward model: adapter and heads in one artifact, with its held-out quality."""

    id: str
    run_id: str
    objective: str
    base_model: str
    artifact: str
    constitution_hash: str
    pairs: int
    """Labels that it was trained on, of any kind."""
    human_pairs: int
    accuracy: float
    accuracy_n: int
    """Held-out pairs behind `accuracy`; where there are none, that is 0.5 and says nothing."""
    ungated: bool = False
    """A judge that had not passed its gate gave some of the labels."""
    auditor: bool = False
    """Nothing is trained against it: it learned from other labels than the model that PPO is paid by, and checks it."""
    quality: tuple[RewardQuality, ...] = ()
    """On held-out labels: of all, then of each source where there are several."""
    data_pairs: int = 0
    """Of `pairs`, those of the user's own files."""


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


def latest(versions: Sequence[PolicyVersion]) -> PolicyVersion | None:
    """The newest of these, oldest first, that is meant for use; a control never is."""
    return next((version for version in reversed(versions) if not version.is_control), None)


class ConstitutionFile(Record):
    """A text of a constitution; several may mean the same."""

    id: str
    """First 16 hex digits of the sha256 of its bytes."""
    constitution_hash: str
    source: str
    text: str


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


class GoldScore(Record):
    """A world's own grade of one sample; `kind` is an objective, or `harm:<kind of hazard>`."""

    sample_id: str
    kind: str
    score: float


class Checkpoint(Record):
    """All that a stage needs to go on after `step`: weights, optimizer, RNG, in one artifact."""

    run_id: str
    stage: Stage
    step: int
    artifact: str
