"""Reward models as they are stored, and how good each is on labels that it was not trained on."""

from __future__ import annotations

from typing import Literal

from rlhf_core.records import Record

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
    """The 95 % interval (Wilson 1927), of as many independent pairs as those of few prompts are worth."""
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
