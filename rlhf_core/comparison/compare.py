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
from rlhf_core.comparison.sources import Source, source_of, terms_of
from rlhf_core.comparison.verdict import MIN_SHARED, verdict_of
from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Estimate, difference_estimate, mean_estimate
from rlhf_core.records.models import PRODUCTION
from rlhf_core.records.runs import WatchPoint
from rlhf_core.records.samples import Sample
from rlhf_core.store.store import Store
from rlhf_core.text_detectors import words


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
    judge, judged = _judged(left, right, first, second)
    unlike = _drawn_otherwise(first, second)
    return RunComparison(
        a=_side(store, first),
        b=_side(store, second),
        shared_prompts=len(shared),
        measures=tuple(_measure(name, left.get(name), right.get(name), first, second) for name in names),
        verdict=None if unlike else verdict_of(judge, judged, terms_of(store, first), terms_of(store, second)),
        drawn_otherwise=unlike,
        settings=_differing(first, second),
        curves=tuple(_curves(first, second)),
        replies=tuple(_replies(first, second, judge, judged)),
    )


def _side(store: Store, source: Source) -> Side:
    holder = store.aliases.holder(PRODUCTION)
    here = holder == source.policy.policy_version
    sister = not here and holder in {version.id for version in store.policy_versions.find(source.run.id)}
    return Side(
        run_id=source.run.id,
        display_name=source.run.display_name,
        policy_version=source.policy.policy_version,
        prompts=len({sample.prompt.id for sample in source.policy.samples}),
        in_production=here,
        in_production_instead=holder if sister else "",
    )


def _drawn_otherwise(first: Source, second: Source) -> str:
    """Say what differs in how the two runs drew replies; empty where nothing does."""
    (hot, long), (other_hot, other_long) = first.drawn, second.drawn
    told = [f"temperature {hot:g} and {other_hot:g}"] if hot != other_hot else []
    told += [f"at most {long} and {other_long} tokens"] if long != other_long else []
    return ", ".join(told)


def _judged(
    left: Mapping[str, Column], right: Mapping[str, Column], first: Source, second: Source
) -> tuple[Judge, dict[str, tuple[Column, Column]]]:
    """The judge that knows both policies, gold before reward models, and what it says by objective."""
    both = {name: (left[name], right[name]) for name in left if name in right}
    gold = {name.removeprefix("gold "): pair for name, pair in both.items() if name.startswith("gold ")}
    if gold:
        return "gold", gold
    scores = {name.removeprefix("score "): pair for name, pair in both.items() if name.startswith("score ")}
    return "reward model", {name: pair for name, pair in scores.items() if one_scale(name, first, second)}


def _measure(name: str, a: Column | None, b: Column | None, first: Source, second: Source) -> Measure:
    if not (a and b):
        return Measure(name=name, a=_mean(a), b=_mean(b), note="measured in one run only")
    if _drawn_otherwise(first, second):
        return Measure(name=name, a=_mean(a), b=_mean(b), note="of replies that were drawn otherwise")
    shared = [prompt for prompt in a if prompt in b]
    if len(shared) < MIN_SHARED:
        return Measure(name=name, a=_mean(a), b=_mean(b), note=f"{len(shared)} held-out prompts in common")
    before, after = ({prompt: column[prompt] for prompt in shared} for column in (a, b))
    if name.startswith("score ") and not one_scale(name.removeprefix("score "), first, second):
        return Measure(name=name, a=_mean(before), b=_mean(after), note="by another reward model in each run")
    difference = difference_estimate(list(before.values()), list(after.values()))
    return Measure(name=name, a=_mean(before), b=_mean(after), difference=difference)


def _mean(column: Column | None) -> Estimate | None:
    return mean_estimate(list(column.values())) if column else None


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


def _replies(
    first: Source, second: Source, judge: Judge, judged: Mapping[str, tuple[Column, Column]]
) -> list[ReplyPair]:
    """The first reply of both to each shared prompt, the most different ones first."""
    a, b = (_first_replies(source) for source in (first, second))

    def distance(prompt: str) -> float:
        if judged:
            return sum(abs(after.get(prompt, 0.0) - before.get(prompt, 0.0)) for before, after in judged.values())
        return 1 - difflib.SequenceMatcher(None, words(a[prompt].response), words(b[prompt].response)).ratio()

    pairs = [
        ReplyPair(
            prompt=a[prompt].prompt.messages[-1].content,
            a=a[prompt].response,
            b=b[prompt].response,
            distance=distance(prompt),
            by=judge if judged else "words",
        )
        for prompt in a
        if prompt in b and a[prompt].response != b[prompt].response
    ]
    return sorted(pairs, key=lambda pair: -pair.distance)


def _first_replies(source: Source) -> dict[str, Sample]:
    return {sample.prompt.id: sample for sample in reversed(source.policy.samples)}
