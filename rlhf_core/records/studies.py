"""Studies: what is declared before anybody is asked, the pairs and replies that people see, and what comes of it."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pydantic import Field

from rlhf_core.records.annotation import Agreement
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Choice

Stopping = Literal["sequential", "fixed"]
"""When a question is closed: as soon as the data decide it, which may be looked at any time, or once every pair has its
labels and no sooner."""
Preferred = Literal["first", "second", "neither"]
StudyForm = Literal["pairs", "ratings"]
"""How people are asked: which of two replies is better, or how good one is."""


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
    evenly (Bonferroni), and the differences of ratings as much of their own."""
    temperature: float = Field(default=0.0, ge=0, le=100)
    """At which every policy writes one reply to each of its prompts."""
    ratings_per_reply: int = Field(default=0, ge=0, le=20)
    """People who rate each reply by itself for each objective; with 0 no reply is rated."""


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


class StudyReply(Record):
    """One policy's reply to one prompt, to be rated by itself."""

    study_id: str
    policy: str
    prompt_id: str
    sample_id: str
    """The reply that people see: where several policies wrote the same words, the first one's, rated for all."""
    place: int
    """In the order in which replies are rated, which is random."""


class StudyQuestion(Record):
    """One objective of a study in one form, asked of every pair or reply until it is closed."""

    study_id: str
    form: StudyForm = "pairs"
    objective: str
    wanted: int
    """People who answer it on each pair or reply."""
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


class RatingProgress(Record):
    """How far the ratings for one objective are."""

    objective: str
    replies: int
    """Replies that are rated, each once where several policies wrote it."""
    done: int
    """Those that have all their ratings."""
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
    rating_questions: tuple[RatingProgress, ...] = ()
    """As `questions`; none where the plan asks for no ratings."""
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


class Rating(NamedTuple):
    """A person's rating of one reply of a study, in the order in which it was given."""

    sample_id: str
    rating: int
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


class PolicyRatings(Record):
    """How one policy's replies were rated, those that have all their ratings."""

    policy: str
    replies: int
    mean: Interval | None
    """Of its replies' mean ratings, each reply once, with the 95 % t interval over prompts, cut to the scale.

    None without any."""
    grades: tuple[int, ...]
    """Ratings of each grade, the lowest first."""


class RatingDifference(Record):
    """How much higher another policy is rated than the study's first one, on the prompts that both have answered."""

    first: str
    second: str
    prompts: int
    """Of which both replies have all their ratings."""
    difference: Interval | None
    """Of the second one's mean rating less the first one's, paired by prompt, with the t interval at the level
    1 - `error`; None without a prompt."""
    error: float
    """This difference's part of the plan's alpha, of which all differences and objectives have the same."""
    higher: Preferred
    """Which is rated higher; neither where the interval holds 0, or there is none."""


class RatingResult(Record):
    """How people rated replies for one objective. While they are asked only the counts are told."""

    objective: str
    replies: int
    """Replies that are rated."""
    done: int
    """Those that have all their ratings, and are behind the figures."""
    ratings: int
    """All that stand, skips left out."""
    raters: int
    skips: int
    closed_because: str
    policies: tuple[PolicyRatings, ...] = ()
    differences: tuple[RatingDifference, ...] = ()
    agreement: Agreement | None = None
    """Of the raters: ordinal alpha over the replies that several rated."""


class StudyResults(Record):
    """All questions of a study."""

    study_id: str
    plan: StudyPlan
    identical: int
    """Pairs of the plan of which both replies were the same words; nobody is asked about them."""
    questions: tuple[QuestionResult, ...]
    ratings: tuple[RatingResult, ...] = ()
