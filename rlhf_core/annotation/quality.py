"""How far the labels of one objective can be trusted: agreement, every person, and the judges beside the people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from statistics import median
from typing import NamedTuple

import numpy as np

from rlhf_core.annotation.agreement import Counts, measure_agreement
from rlhf_core.annotation.dawid_skene import EVEN, TRUTHS, A, Array, Indices, skills, truths_of_others
from rlhf_core.annotation.flags import LEFT, NEITHER, RIGHT, Flag, judge_annotator
from rlhf_core.annotation.pooled_answers import CLEAR, SAID, Crowd, SoftLabel, crowd_of, soft_labels
from rlhf_core.annotation.records import AnnotatorQuality, JudgeAgreement, ObjectiveQuality, Window
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.annotation import Adjudication, Answer, Standing
from rlhf_core.records.feedback import Choice, Preference, by_judge
from rlhf_core.stats import clustered_interval, wilson_interval

ANSWERS: tuple[Choice, ...] = ("a", "tie", "b", "both_bad")
"""What may be said of a pair, as categories without an order."""
WINDOWS, WINDOW_ITEMS = 6, 20
"""Most parts of the trend, and the fewest shared items of each."""
LONGEST_PAUSE_SECONDS = 600.0
"""Between two answers; after a longer one a person has been away."""


class Rule(NamedTuple):
    """When somebody is flagged; see `flags`."""

    good: float
    false_alarm: float


def objective_quality(
    objective: str,
    answers: Sequence[Answer],
    adjudications: Iterable[Adjudication],
    standings: Mapping[str, Standing],
    judged: Iterable[Preference],
    rule: Rule,
) -> ObjectiveQuality:
    """Measure the labels of one objective.

    Args:
        answers: everybody's, second answers and skips too, in the order in which they were given.
        adjudications: those that hold, one of a comparison.
        standings: of the people whose standing a reviewer has changed.
        judged: the AI's labels.
        rule: when somebody is flagged.
    """
    decided = {each.comparison_id: each for each in adjudications}
    adjudicated: dict[str, Choice] = {pair: each.choice for pair, each in decided.items()}
    shut_out = {labeler for labeler, standing in standings.items() if standing == "paused"}
    crowd = crowd_of([a for a in answers if a.labeler not in shut_out], adjudicated)
    # Those who are shut out are still measured, against the others.
    everybody = crowd_of(_as_asked(answers, decided), adjudicated)
    shared = _shared(crowd)
    return ObjectiveQuality(
        objective=objective,
        items=len(crowd.items),
        answers=len(crowd.answers),
        ordinal=measure_agreement(_ordinal(shared), "ordinal"),
        nominal=measure_agreement(_counts(shared, ANSWERS.index, len(ANSWERS)), "nominal"),
        trend=_trend(shared),
        annotators=_annotators(answers, everybody, standings, rule),
        judges=_judges(soft_labels(crowd), {a.comparison_id: a.prompt_id for a in crowd.answers}, judged),
        gold=sum(choice in SAID for choice in adjudicated.values()),
    )


def _shared(crowd: Crowd) -> list[list[Answer]]:
    """The answers to each item that has two or more, in the order in which items got their second."""
    of_item: dict[str, list[Answer]] = defaultdict(list)
    for answer in crowd.answers:
        of_item[answer.comparison_id].append(answer)
    return sorted((said for said in of_item.values() if len(said) > 1), key=lambda said: said[1].given_at)


def _ordinal(shared: Sequence[Sequence[Answer]]) -> Counts:
    return _counts(shared, SAID.__getitem__, TRUTHS)


def _counts(shared: Sequence[Sequence[Answer]], value: Callable[[Choice], int], values: int) -> Counts:
    counts = np.zeros((len(shared), values))
    for item, said in enumerate(shared):
        for answer in said:
            counts[item, value(answer.choice)] += 1
    return counts


def _trend(shared: Sequence[Sequence[Answer]]) -> tuple[Window, ...]:
    """Stretches with as many items each; none where there are too few items for two."""
    windows = min(WINDOWS, len(shared) // WINDOW_ITEMS)
    if windows < 2:
        return ()
    edges = [len(shared) * place // windows for place in range(windows + 1)]
    parts = [shared[begin:end] for begin, end in pairwise(edges)]
    return tuple(
        Window(
            begin=part[0][1].given_at,
            end=part[-1][1].given_at,
            agreement=measure_agreement(_ordinal(part), "ordinal"),
        )
        for part in parts
    )


def _as_asked(answers: Iterable[Answer], decided: Mapping[str, Adjudication]) -> list[Answer]:
    """The answers, those from before a decision as answers to another pair, on which nobody decided.

    A pair comes to be decided because an answer to it was contradicted, most often by a judge where nobody else
    answered. What is wrong among such pairs says little of anybody, and counting it would flag good people.
    """

    def came_before(answer: Answer) -> bool:
        decision = decided.get(answer.comparison_id)
        return decision is not None and decision.choice in SAID and answer.given_at < decision.created_at

    return [
        answer.model_copy(update={"comparison_id": f"{answer.comparison_id} before"}) if came_before(answer) else answer
        for answer in answers
    ]


def _annotators(
    answers: Sequence[Answer],
    crowd: Crowd,
    standings: Mapping[str, Standing],
    rule: Rule,
) -> tuple[AnnotatorQuality, ...]:
    """Everybody who answered, those first who are flagged."""
    of_person: dict[str, list[Answer]] = defaultdict(list)
    for answer in answers:
        of_person[answer.labeler].append(answer)
    truths = truths_of_others(crowd.fit, crowd.given, crowd.known)
    right = skills(crowd.fit)
    found = []
    for labeler, said in of_person.items():
        place = crowd.people.index(labeler) if labeler in crowd.people else None
        rows = np.flatnonzero(crowd.given.people == (-1 if place is None else place))
        flag = _flag(crowd, rows, truths[rows], rule)
        found.append(
            AnnotatorQuality(
                labeler=labeler,
                standing=standings.get(labeler, "by_rule"),
                answers=len(rows),
                skips=sum(answer.choice == "skip" for answer in said),
                skill=None if place is None else float(right[place]),
                gold=_share(_gold(crowd, rows)),
                repeats=_share(_repeats(said)),
                left=_share([side == LEFT for side in map(side_of, said) if side != NEITHER]),
                seconds=seconds_per_answer(said),
                flag=flag.kind,
                flagged_after=flag.after,
            )
        )
    return tuple(sorted(found, key=lambda each: (each.flag is None, each.labeler)))


def _flag(crowd: Crowd, rows: Indices, truths: Array, rule: Rule) -> Flag:
    sides = [side_of(crowd.answers[row]) for row in rows]
    return judge_annotator(truths, crowd.given.said[rows].tolist(), sides, rule.good, rule.false_alarm)


def _gold(crowd: Crowd, rows: Indices) -> list[bool]:
    """Whether each answer to a gold item is what was decided."""
    said = [(crowd.known.get(int(crowd.given.items[row])), int(crowd.given.said[row])) for row in rows]
    return [truth == answer for truth, answer in said if truth is not None]


def side_of(answer: Answer) -> int:
    """Tell which side was picked; NEITHER where none was, or the sides are not known."""
    if answer.swapped is None or SAID.get(answer.choice, EVEN) == EVEN:
        return NEITHER
    return LEFT if (SAID[answer.choice] == A) != answer.swapped else RIGHT


def seconds_per_answer(answers: Sequence[Answer]) -> float | None:
    """Return the median time from one answer to the next; None where there are no two without a long pause between."""
    times = sorted(datetime.fromisoformat(answer.given_at) for answer in answers)
    steps = [(after - before).total_seconds() for before, after in pairwise(times)]
    steps = [step for step in steps if step <= LONGEST_PAUSE_SECONDS]
    return median(steps) if steps else None


def _repeats(said: Sequence[Answer]) -> list[bool]:
    """Whether each second answer says of the truth what the first one said."""
    first: dict[str, Choice] = {answer.comparison_id: answer.choice for answer in said if not answer.repeated}
    return [
        SAID[answer.choice] == SAID[first[answer.comparison_id]]
        for answer in said
        if answer.repeated and answer.choice in SAID and first.get(answer.comparison_id) in SAID
    ]


def _judges(
    labels: Sequence[SoftLabel], prompts: Mapping[str, str], judged: Iterable[Preference]
) -> tuple[JudgeAgreement, ...]:
    decided = {label.comparison_id: label for label in labels if max(label.probability, 1 - label.probability) >= CLEAR}
    # A judge's latest label of a pair, whichever run asked for it.
    everybody = [one for p in judged for one in (p, *by_judge(p))]
    latest = {(p.labeler, p.comparison_id): p for p in everybody if p.comparison_id in decided}
    found = []
    for judge in sorted({labeler for labeler, _ in latest}):
        said = [p for (labeler, _), p in latest.items() if labeler == judge]
        cases = [p for p in said if not p.abstained and p.probability != 0.5]
        even = [p for p in cases if decided[p.comparison_id].uniform]
        found.append(
            JudgeAgreement(
                judge=judge.removeprefix("ai:"),
                agreement=_agreement(even, decided, prompts),
                all_pairs=_agreement(cases, decided, prompts),
                abstained=len(said) - len(cases),
            )
        )
    return tuple(found)


def _agreement(
    cases: Sequence[Preference], decided: Mapping[str, SoftLabel], prompts: Mapping[str, str]
) -> Estimate | None:
    groups: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        same = (case.probability > 0.5) == (decided[case.comparison_id].probability > 0.5)
        groups[prompts[case.comparison_id]].append(same)
    if not groups:
        return None
    low, high = clustered_interval([(sum(group), len(group)) for group in groups.values()])
    return Estimate(value=sum(map(sum, groups.values())) / len(cases), low=low, high=high, n=len(cases))


def _share(cases: Sequence[bool]) -> Estimate | None:
    if not cases:
        return None
    low, high = wilson_interval(sum(cases), len(cases))
    return Estimate(value=sum(cases) / len(cases), low=low, high=high, n=len(cases))
