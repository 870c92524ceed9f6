"""Preference studies: what is declared before anybody is asked, the pairs that people see, and what comes of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Choice

Stopping = Literal["sequential", "fixed"]
"""When a question is closed: as soon as the data decide it, which may be looked at any time, or once every pair has its
labels and no sooner."""
Preferred = Literal["first", "second", "neither"]


class StudyPlan(Record):
    """What a study declares in advance; nothing of it changes once it is stored."""

    policies: tuple[str, ...]
    """Two or more policy versions."""
    objectives: tuple[str, ...]
    """The questions: one of each pair and objective."""
    pairs: int = Field(default=100, ge=2, le=2000)
    """Pairs of replies at most, shared evenly among the pairs of policies."""
    labels_per_pair: int = Field(default=1, ge=1, le=20)
    """People who answer each question on a pair."""
    stopping: Stopping = "sequential"
    alpha: float = Field(default=0.05, gt=0, le=0.5)
    """Chance that the study prefers a policy anywhere although none is; the questions and pairs of policies share it
    evenly (Bonferroni)."""
    temperature: float = Field(default=0.0, ge=0, le=100)
    """At which every policy writes one reply to each of its prompts."""


class StudyPair(Record):
    """Two policies' replies to one prompt. Which of them is the comparison's a is drawn by the pair's id."""

    study_id: str
    comparison_id: str
    place: int
    """In the order in which pairs are asked about."""
    prompt_id: str
    a_policy: str
    b_policy: str
    a_words: int
    b_words: int


class StudyQuestion(Record):
    """One objective of a study, asked of every pair until it is closed."""

    study_id: str
    objective: str
    labels_per_pair: int
    closed_at: str = ""
    """Empty while people are asked."""
    closed_because: Literal["", "decided", "complete", "by hand"] = ""


StudyState = Literal["drawing", "open", "closed", "failed"]
"""`failed`: the run ended before its replies were written."""


class QuestionProgress(Record):
    """How far one question is."""

    objective: str
    pairs: int
    """Pairs that are asked about."""
    done: int
    """Those that have all their labels."""
    closed_because: str = ""
    closed_at: str = ""


class Study(Record):
    """A study as it stands; its id is its run's."""

    id: str
    display_name: str
    plan: StudyPlan
    state: StudyState
    questions: tuple[QuestionProgress, ...]
    """In the order of the plan; none before its replies are written."""
    prompts: str
    """The dataset or file of its prompts; empty where they are the built-in world's held-out ones."""
    seed: int
    constitution_hash: str
    error: str
    """Why its run failed, if it did."""
    created_at: str


class Answer(NamedTuple):
    """A person's label on one pair of a study, in the order in which it was given."""

    comparison_id: str
    choice: Choice
    labeler: str


class Interval(Record):
    """A number and how far it may be off; the bounds are None where nothing can be said."""

    value: float
    low: float | None = None
    high: float | None = None


class Duel(Record):
    """What people found of two policies: counts of pairs, which are fractions where several people saw a pair."""

    first: str
    second: str
    pairs: int
    """Pairs that have all their labels and count."""
    wins: float
    """Of the first one."""
    ties: float
    """Both bad ones included."""
    losses: float
    both_bad: float
    win_rate: Interval
    """Of the first one, ties as half; for a sequential study a confidence sequence, which holds however often it is
    looked at, for one of a fixed size the score interval (Wilson 1927). Its level is 1 - `error`."""
    error: float
    """This duel's part of the study's alpha."""
    preferred: Preferred


class Strength(Record):
    """One policy's log-odds of being preferred to the study's first policy, at equal length; with ties (Davidson)."""

    policy: str
    log_odds: Interval
    """95 %, from prompts drawn anew; no bounds where no chain of wins leads from the first policy to it and back."""


class QuestionResult(Record):
    """What people answered to one question of a study."""

    objective: str
    pairs: int
    """Pairs that are asked about."""
    done: int
    """Those that have all their labels."""
    labels: int
    labelers: int
    skips: int
    closed_because: str
    counted: int
    """Pairs behind the figures: of a sequential study those until it was decided."""
    duels: tuple[Duel, ...]
    strengths: tuple[Strength, ...]
    length: Interval | None
    """Log-odds that a reply has for being twice as long as the other, whoever wrote it; None where all are as long."""


class StudyResults(Record):
    """All questions of a study."""

    study_id: str
    plan: StudyPlan
    identical: int
    """Pairs of the plan of which both replies were the same words; nobody is asked about them."""
    questions: tuple[QuestionResult, ...]
