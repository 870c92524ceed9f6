"""What ratings and rankings of people teach, by the rules of the user's own label files."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from rlhf_core.data.reward_examples import Label, LabelledPair, Ranking, Rating
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.samples import Sample


def assessed_labels(assessment: Assessment, replies: Mapping[str, Sample]) -> list[Label]:
    """Return the labels that an assessment of these samples (by id) says: none where it was skipped, or marks faults.

    A ranking in which no reply is better than another says of each two that they are even, which files say by ties;
    the pairs of k replies count k - 1 together, as many as a ranking of k draws.
    """
    samples = [replies[identity] for identity in assessment.sample_ids]
    texts = tuple(sample.response for sample in samples)
    prompt = samples[0].prompt
    if assessment.rating is not None:
        return [Rating(prompt, texts[0], float(assessment.rating), source="human")]
    if assessment.form != "ranking" or assessment.skipped:
        return []
    if len(set(assessment.ranks)) > 1:
        return [Ranking(prompt, texts, tuple(map(float, assessment.ranks)), source="human")]
    weight = 2 / len(texts)
    return [
        LabelledPair(prompt, a, b, probability=0.5, weight=weight, source="human", tied=True)
        for a, b in itertools.combinations(texts, 2)
    ]


def on_one_scale(labels: Sequence[Label]) -> list[Label]:
    """Return the labels; where both people and files rate, their ratings in standard deviations, each by its own mean.

    A scale is a file's own, and people's is another.
    """
    rated: dict[str, list[float]] = {}
    for label in labels:
        if isinstance(label, Rating):
            rated.setdefault(label.source, []).append(label.rating)
    if len(rated) < 2:
        return list(labels)
    scales = {source: (float(np.mean(ratings)), float(np.std(ratings)) or 1.0) for source, ratings in rated.items()}
    return [_standard(label, *scales[label.source]) if isinstance(label, Rating) else label for label in labels]


def _standard(label: Rating, mean: float, sd: float) -> Rating:
    return label._replace(rating=float((label.rating - mean) / sd))
