"""What is trained, and how it scores: policy and reward model versions, their scale, checkpoints."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rlhf_core.records.base import Record, RunState, Stage

QualitySource = Literal["all", "ai", "human", "data"]


PRODUCTION = "production"
"""The alias of the policy that answers wherever none is named."""


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


Gates = Literal["passed", "none", "failed", "unmeasured"]
"""Of the judges that taught a policy: `none` where none did, `unmeasured` where no gate has been measured yet."""


class PolicyStanding(Record):
    """What a policy version has behind it, and which aliases it holds."""

    version: PolicyVersion
    aliases: tuple[str, ...] = ()
    run_state: RunState | None = None
    """None for the base, and where the run is not in the store any more."""
    unfinished: str = ""
    """Why it is not to be promoted, whoever asks; empty where what made it is finished."""
    gates: Gates = "none"
    gate_reason: str = ""
    """What falls short where the gates failed or are unmeasured."""

    @property
    def is_fit(self) -> bool:
        """Whether it can be promoted without anybody's overriding word."""
        return not self.unfinished and self.gates in ("passed", "none")


class AliasChange(Record):
    """One entry of the history of aliases, which only grows."""

    number: int
    alias: str
    version: str
    """Its holder from then on; empty where nobody holds it any more."""
    previous: str
    """Its holder before; empty where there was none."""
    kind: Literal["promote", "rollback"]
    changed_by: str = ""
    reason: str = ""
    overridden: str = ""
    """What fell short at the gates, where somebody promoted the version all the same."""
    created_at: str = ""


class SpeakingPolicy(NamedTuple):
    """The version that a reference means, and the alias that led there, if one did."""

    version: str
    alias: str = ""


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

    def z(self, score: float, reward_model: str) -> float | None:
        """Return the score in standard deviations of the reference policy's.

        None where the pack does not know the model.
        """
        if reward_model not in self.reward_models:
            return None
        index = self.reward_models.index(reward_model)
        return (score - self.mean[index]) / self.sd[index]


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
