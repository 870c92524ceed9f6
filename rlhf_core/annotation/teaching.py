"""Which labels may teach anything."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from rlhf_core.records.annotation import Answer
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.feedback import Preference
from rlhf_core.store.store import Store

L = TypeVar("L", Answer, Preference)


def teaching(store: Store, given: Iterable[L]) -> list[L]:
    """Return those of nobody who is shut out, and of no pair of a study.

    What measures policies teaches nothing of theirs, not even how sure their judge may be.
    """
    shut_out = store.annotators.shut_out()
    kept = [label for label in given if label.labeler not in shut_out]
    studied = store.studies.among({label.comparison_id for label in kept})
    return [label for label in kept if label.comparison_id not in studied]


def teaching_assessments(store: Store, given: Iterable[Assessment]) -> list[Assessment]:
    """Return those of nobody who is shut out, and of no reply that a study has rated."""
    shut_out = store.annotators.shut_out()
    kept = [one for one in given if one.labeler not in shut_out]
    studied = store.study_ratings.among({sample for one in kept for sample in one.sample_ids})
    return [one for one in kept if studied.isdisjoint(one.sample_ids)]
