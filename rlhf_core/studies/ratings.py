"""What comes of a study's ratings: how good each policy's replies are by themselves, and which policy's are better."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from rlhf_core.annotation.agreement import measure_agreement
from rlhf_core.records.annotation import Agreement
from rlhf_core.records.assessments import HIGHEST, LOWEST
from rlhf_core.records.studies import (
    Interval,
    PolicyRatings,
    Preferred,
    Rating,
    RatingDifference,
    RatingResult,
    StudyPlan,
    StudyQuestion,
    StudyReply,
)
from rlhf_core.stats import mean_interval
from rlhf_core.store.store import Store

GRADES = range(LOWEST, HIGHEST + 1)
Graded = Mapping[str, Sequence[int]]
"""Reply, by its sample -> its ratings that count: as many as the plan declared."""


class Counts(NamedTuple):
    """How many replies are asked about, have all their ratings, and were skipped."""

    replies: int
    done: int
    skips: int


def rating_results(store: Store, study_id: str) -> tuple[RatingResult, ...]:
    """Return what the ratings of a study say; of a question that is still asked only how far it is."""
    plan, replies = store.studies.get(study_id), store.study_ratings.replies(study_id)
    return tuple(
        rating_result(
            plan,
            question,
            replies,
            store.study_ratings.ratings(study_id, question.objective),
            Counts(*store.study_ratings.progress(question), store.study_ratings.skips(study_id, question.objective)),
        )
        for question in store.studies.questions(study_id, "ratings")
    )


def settle_ratings(store: Store, study_id: str, objective: str) -> None:
    """Close the question once every reply has its ratings; ask it again where ratings count no more.

    What was closed by hand stays so. It belongs into the transaction of what it is about.
    """
    store.studies.hold()
    asked = store.studies.questions(study_id, "ratings")
    found = next((one for one in asked if one.objective == objective), None)
    if found is None or found.closed_because == "by hand":
        return
    replies, done = store.study_ratings.progress(found)
    reason = "complete" if done == replies else ""
    if reason != found.closed_because:
        store.studies.close(found.model_copy(update={"closed_because": reason}))


def rating_result(
    plan: StudyPlan, question: StudyQuestion, replies: Sequence[StudyReply], ratings: Sequence[Rating], counts: Counts
) -> RatingResult:
    """Sum up how people rated replies for one objective, by those replies that have all their ratings."""
    told = RatingResult(
        objective=question.objective,
        replies=counts.replies,
        done=counts.done,
        skips=counts.skips,
        ratings=len(ratings),
        raters=len({rating.labeler for rating in ratings}),
        closed_because=question.closed_because,
    )
    if not question.closed_because:
        return told
    given = graded(ratings, question.wanted)
    first, *others = plan.policies
    # The plan's alpha is that of all claims together, so each has a part of it (Bonferroni).
    error = plan.alpha / (len(others) * len(plan.objectives))
    figures = {
        "policies": tuple(_policy(policy, replies, given) for policy in plan.policies),
        "differences": tuple(_difference(first, other, replies, given, error) for other in others),
        "agreement": _agreement(given),
    }
    return told.model_copy(update=figures)


def graded(ratings: Sequence[Rating], wanted: int) -> dict[str, list[int]]:
    """Return the ratings of the replies that have as many as are wanted; further ones do not count."""
    found: dict[str, list[int]] = defaultdict(list)
    for rating in ratings:
        if len(found[rating.sample_id]) < wanted:
            found[rating.sample_id].append(rating.rating)
    return {sample: grades for sample, grades in found.items() if len(grades) == wanted}


def _means(policy: str, replies: Sequence[StudyReply], given: Graded) -> dict[str, float]:
    """Prompt -> mean rating of the policy's reply to it. Prompts are the units of every interval."""
    own = [reply for reply in replies if reply.policy == policy and reply.sample_id in given]
    return {reply.prompt_id: fmean(given[reply.sample_id]) for reply in own}


def _policy(policy: str, replies: Sequence[StudyReply], given: Graded) -> PolicyRatings:
    means = _means(policy, replies, given)
    own = [grade for reply in replies if reply.policy == policy for grade in given.get(reply.sample_id, ())]
    grades = tuple(own.count(grade) for grade in GRADES)
    mean = _on_scale(_interval(list(means.values()), 0.05))
    return PolicyRatings(policy=policy, replies=len(means), mean=mean, grades=grades)


def _on_scale(found: Interval | None) -> Interval | None:
    """The interval of a mean, within the scale, which no mean can leave."""
    if found is None or found.low is None or found.high is None:
        return found
    return found.model_copy(update={"low": max(found.low, LOWEST), "high": min(found.high, HIGHEST)})


def _difference(
    first: str, second: str, replies: Sequence[StudyReply], given: Graded, error: float
) -> RatingDifference:
    before, after = (_means(policy, replies, given) for policy in (first, second))
    found = _interval([after[prompt] - before[prompt] for prompt in before if prompt in after], error)
    higher: Preferred = "neither"
    if found and found.low is not None and found.high is not None and not found.low <= 0 <= found.high:
        higher = "second" if found.value > 0 else "first"
    prompts = len(before.keys() & after.keys())
    return RatingDifference(first=first, second=second, prompts=prompts, difference=found, error=error, higher=higher)


def _interval(values: Sequence[float], error: float) -> Interval | None:
    """The mean and its t interval, without bounds where the values say nothing of how far it may be off."""
    if not values:
        return None
    bounds = mean_interval(values, error)
    return Interval(value=fmean(values), low=bounds and bounds.low, high=bounds and bounds.high)


def _agreement(given: Graded) -> Agreement:
    counts = np.array([[grades.count(grade) for grade in GRADES] for grades in given.values()], dtype=float)
    return measure_agreement(counts.reshape(-1, len(GRADES)), "ordinal")
