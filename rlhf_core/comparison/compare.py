"""Set two runs side by side from what they stored: nothing is generated or judged anew."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping

import numpy as np

from rlhf_core.comparison.columns import Column, columns_of, flat, one_scale
from rlhf_core.comparison.records import (
    CurvePoint,
    Judge,
    Measure,
    ObjectiveCurve,
    ReplyPair,
    RunComparison,
    Side,
)
from rlhf_core.comparison.sources import Source, source_of
from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import difference_estimate, mean_estimate
from rlhf_core.records.runs import WatchPoint
from rlhf_core.records.samples import Sample
from rlhf_core.store.store import Store
from rlhf_core.text_detectors import words

MIN_SHARED = 2
"""Prompts; the difference of fewer has no interval."""


def compare_runs(store: Store, a: str, b: str) -> RunComparison:
    """Compare the last policies of two runs on their held-out prompts.

    Raises: NotFound for a run that is not there or has evaluated nothing, InvalidInput for one run twice.
    """
    first, second = source_of(store, a), source_of(store, b)
    if first.run.id == second.run.id:
        raise InvalidInput(f"'{a}' and '{b}' are one run, '{first.run.id}'; name two", "run_b")
    left, right = columns_of(first), columns_of(second)
    names = list(dict.fromkeys((*left, *right)))
    shared = {s.prompt.id for s in first.policy.samples} & {s.prompt.id for s in second.policy.samples}
    return RunComparison(
        a=_side(first),
        b=_side(second),
        shared_prompts=len(shared),
        measures=tuple(_measure(name, left.get(name), right.get(name), first, second) for name in names),
        settings=_differing(first, second),
        curves=tuple(_curves(first, second)),
        replies=tuple(_replies(first, second, left, right)),
    )


def _side(source: Source) -> Side:
    return Side(
        run_id=source.run.id,
        display_name=source.run.display_name,
        policy_version=source.policy.policy_version,
        prompts=len({sample.prompt.id for sample in source.policy.samples}),
    )


def _measure(name: str, a: Column | None, b: Column | None, first: Source, second: Source) -> Measure:
    ends = [mean_estimate(list(column.values())) if column else None for column in (a, b)]
    note = ""
    if not (a and b):
        note = "measured in one run only"
    elif name.startswith("score ") and not one_scale(name.removeprefix("score "), first, second):
        note = "by another reward model in each run"
    elif len(shared := [prompt for prompt in a if prompt in b]) < MIN_SHARED:
        note = f"{len(shared)} held-out prompts in common"
    if note or not (a and b):
        return Measure(name=name, a=ends[0], b=ends[1], note=note)
    difference = difference_estimate([a[p] for p in a if p in b], [b[p] for p in a if p in b])
    return Measure(name=name, a=ends[0], b=ends[1], difference=difference)


def _differing(first: Source, second: Source) -> dict[str, tuple[str, str]]:
    a, b = (dict(flat("", source.config.model_dump(mode="json"))) for source in (first, second))
    if first.run.constitution_hash != second.run.constitution_hash:
        a["constitution (hash)"], b["constitution (hash)"] = first.run.constitution_hash, second.run.constitution_hash
    return {key: (a.get(key, "-"), b.get(key, "-")) for key in dict.fromkeys((*a, *b)) if a.get(key) != b.get(key)}


def _curves(first: Source, second: Source) -> Iterator[ObjectiveCurve]:
    objectives = dict.fromkeys(point.objective for source in (first, second) for point in source.watched)
    judges: tuple[Judge, ...] = ("gold", "reward model")
    for objective in objectives:
        for judge in judges:
            a, b = (_curve(source.watched, objective, judge) for source in (first, second))
            if a or b:
                yield ObjectiveCurve(objective=objective, judge=judge, a=a, b=b)


def _curve(points: list[WatchPoint], objective: str, judge: Judge) -> tuple[CurvePoint, ...]:
    rows = [(p.step, p.gold if judge == "gold" else p.proxy) for p in points if p.objective == objective]
    return tuple(CurvePoint(step=step, value=float(np.mean(values))) for step, values in rows if values)


def _replies(first: Source, second: Source, left: Mapping[str, Column], right: Mapping[str, Column]) -> list[ReplyPair]:
    """The first reply of both to each shared prompt, the most different ones first."""
    a, b = (_first_replies(source) for source in (first, second))
    judged = [name for name in left if name.startswith("gold ") and name in right]
    by = "gold" if judged else "reward model"
    judged = judged or [n for n in left if n in right and one_scale(n.removeprefix("score "), first, second)]

    def distance(prompt: str) -> float:
        if judged:
            return sum(abs(right[name].get(prompt, 0.0) - left[name].get(prompt, 0.0)) for name in judged)
        return 1 - difflib.SequenceMatcher(None, words(a[prompt].response), words(b[prompt].response)).ratio()

    pairs = [
        ReplyPair(
            prompt=a[prompt].prompt.messages[-1].content,
            a=a[prompt].response,
            b=b[prompt].response,
            distance=distance(prompt),
            by=by if judged else "words",
        )
        for prompt in a
        if prompt in b and a[prompt].response != b[prompt].response
    ]
    return sorted(pairs, key=lambda pair: -pair.distance)


def _first_replies(source: Source) -> dict[str, Sample]:
    return {sample.prompt.id: sample for sample in reversed(source.policy.samples)}
