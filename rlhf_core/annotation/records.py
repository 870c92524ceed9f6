"""What is measured of people's labels."""

from __future__ import annotations

from rlhf_core.annotation.flags import Kind
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.annotation import Agreement, Standing
from rlhf_core.records.base import Record


class Window(Record):
    """Agreement on the items that were shared in one stretch of time."""

    begin: str
    """When the first of them had its second answer; ISO-8601, UTC."""
    end: str
    agreement: Agreement


class AnnotatorQuality(Record):
    """One person on one objective."""

    labeler: str
    standing: Standing = "by_rule"
    answers: int = 0
    """First answers, skips not counted."""
    skips: int = 0
    skill: float | None = None
    """Probability of being right on the next item (Dawid and Skene 1979, smoothed); None without an answer."""
    gold: Estimate | None = None
    """Share of gold items answered as they were decided, by answers since then; None without any."""
    repeats: Estimate | None = None
    """Share of second answers that are equal to the first."""
    left: Estimate | None = None
    """Share of the left reply among those picked: half, for somebody who reads."""
    seconds: float | None = None
    """Median time from one answer to the next, pauses of over ten minutes left out."""
    flag: Kind | None = None
    """How the person fails, by the rule of `flags`."""
    flagged_after: int = 0
    """Answers that it took; 0 without a flag."""


class JudgeAgreement(Record):
    """How often a judge's labels are those of the people, where both decide."""

    judge: str
    agreement: Estimate | None = None
    """On pairs drawn with no regard to the judge; None where there are none. Pairs of one prompt count together."""
    all_pairs: Estimate | None = None
    """On all pairs, most of which people were asked about because the judge was unsure."""
    abstained: int = 0
    """Pairs that people decide and the judge does not."""


class ObjectiveQuality(Record):
    """All of it for one objective."""

    objective: str
    items: int
    answers: int
    ordinal: Agreement
    """Alpha of a better, neither, b better, in this order."""
    nominal: Agreement
    """Alpha of the four answers without an order: equal and both bad are two."""
    trend: tuple[Window, ...] = ()
    """Ordinal alpha over time."""
    annotators: tuple[AnnotatorQuality, ...] = ()
    judges: tuple[JudgeAgreement, ...] = ()
    gold: int = 0
    """Comparisons that a reviewer has decided."""
