"""What people say of pairs: their labels for reward models, and the truth that a judge is held against."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_core.annotation.pooled_answers import CLEAR, SoftLabel, crowd_of, soft_labels
from rlhf_core.annotation.teaching import teaching
from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison
from rlhf_core.store.store import Store


def people_labels(store: Store, objective: str) -> list[tuple[Comparison, SoftLabel]]:
    """Return each comparison that somebody answered for the objective, with the label that all make together."""
    answers = teaching(store, store.annotators.answers(objective))
    adjudicated: dict[str, Choice] = {each.comparison_id: each.choice for each in store.adjudications.find(objective)}
    labels = soft_labels(crowd_of(answers, adjudicated))
    pairs = store.comparisons.by_id([label.comparison_id for label in labels])
    return [(pairs[label.comparison_id], label) for label in labels]


def human_truth(labels: Iterable[SoftLabel]) -> dict[str, bool]:
    """Map the ids of comparisons to whether people find a better than b.

    Only pairs of the uniform slice count: others are pairs that were chosen because the judge was unsure of them, and
    would mismeasure it. One on which people together are not sure is left out.
    """
    sure = (label for label in labels if label.uniform and max(label.probability, 1 - label.probability) >= CLEAR)
    return {label.comparison_id: label.probability > 0.5 for label in sure}
