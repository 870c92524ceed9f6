"""What people look for among a run's samples, and all that the store knows of one."""

from __future__ import annotations

from typing import Literal

from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Preference, Revision, Verdict, Vote
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.records.samples import Comparison, Sample

TermKind = Literal["run", "stage", "policy", "kl", "score", "verdict"]


class Between(Record):
    """A range of numbers, both ends included; None is no end."""

    low: float | None = None
    high: float | None = None

    @property
    def is_open(self) -> bool:
        return self.low is None and self.high is None


class SampleFilter(Record):
    """What samples must all be; what is empty asks for nothing."""

    stage: str = ""
    policy_version: str = ""
    objective: str = ""
    """Scored for it, by any reward model."""
    score: Between = Between()
    """Of that objective: an unbounded logit."""
    kl: Between = Between()
    """Nats per response."""
    verdict: Verdict | None = None
    principle_id: str = ""
    """Criticised under it; with a verdict, with that one."""
    text: str = ""
    """In the reply or the prompt, in capitals or not."""


class Term(Record):
    """Something by which samples of a run are found, and how many there are."""

    kind: TermKind
    name: str
    """The stage, the policy version, the objective or the principle; empty for others."""
    detail: str = ""
    """The reward model or the verdict; empty for others, and where a critique could not be read."""
    samples: int
    exact: bool
    """False where there are more."""
    low: float | None = None
    high: float | None = None
    """Of scores and KL: the lowest and the highest."""


class FoundSample(Record):
    """A sample with what it can be found by."""

    sample: Sample
    place: int = 0
    """In the order in which the store got its samples; what comes over the wire has none."""
    scores: tuple[Score, ...] = ()
    verdicts: tuple[tuple[str, Verdict | None], ...] = ()
    """Principle and verdict of each critique, in the order of their rounds."""


class SamplePage(Record):
    found: tuple[FoundSample, ...] = ()
    matches: int = 0
    """Samples that match, on all pages together."""
    exact: bool = True
    """False where there are at least so many: nobody counted on."""
    after: int = 0
    """Where the next page begins; 0 at the end."""
    cut: bool = False
    """The page ended because its time was up; the next one looks on from there."""


class Judged(Record):
    """A pair that a sample is one of, with what judges and people said of it."""

    comparison: Comparison
    votes: tuple[Vote, ...] = ()
    preferences: tuple[Preference, ...] = ()
    """Live ones, of people and AI."""


class SampleHistory(Record):
    """All that the store knows of a sample."""

    sample: Sample
    revisions: tuple[Revision, ...] = ()
    """By round."""
    judged: tuple[Judged, ...] = ()
    scores: tuple[Score, ...] = ()
    gold: tuple[GoldScore, ...] = ()
    run_ids: tuple[str, ...] = ()
    """Runs that count it as theirs."""
