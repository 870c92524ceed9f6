"""A sweep: runs alike but for some settings, the front that they reach, and which difference is more than noise.

Two things make numbers of runs differ by chance. Other prompts would give other means: the interval of a difference is
over prompts, paired. Another seed would give another run: what a setting does is averaged over all pairs of runs that
differ in it alone, and how far those pairs disagree says how far one of them can be trusted.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from rlhf_core.comparison.columns import Column, columns_of, flat, one_scale
from rlhf_core.comparison.sources import Source, source_of
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import NotFound
from rlhf_core.evaluation.pareto import non_dominated
from rlhf_core.evaluation.statistics import Estimate, difference_estimate, mean_estimate, spearman
from rlhf_core.records.base import Record
from rlhf_core.records.runs import Run
from rlhf_core.stats import student_quantile
from rlhf_core.store.store import Store

TAG = "sweep"
"""The key of the tag that its runs share."""
UNVARIED = ("from_run",)
"""Settings that differ between runs and vary nothing."""
SEED = "seed"
PERMUTATIONS = 5000
MIN_PROMPTS = 2
"""A difference over fewer has no interval."""
MIN_RUNS = 4
"""Runs of which a rank correlation is told: fewer can never be told from chance."""
Verdict = Literal["shown", "noise", "shown by prompts, one pair of runs"]


class Cell(Record):
    """One run of the sweep that has ended well, and what its last policy reached on held-out prompts."""

    run_id: str
    settings: dict[str, str]
    """Of those that the sweep varies."""
    measures: dict[str, Estimate]
    on_front: bool = False
    """No other run is at least as good at every objective and better at one."""


class Effect(Record):
    """What a setting's second value did to a measure against its first, all other settings being the same."""

    setting: str
    before: str
    after: str
    measure: str
    difference: Estimate
    """Paired by prompt, averaged over the pairs of runs."""
    pairs: int
    spread: float | None = None
    """Half the 95 % interval over pairs of runs (Student's t); none where there is one pair."""
    verdict: Verdict


class Trend(Record):
    """Whether runs with more of a setting have more of a measure, where no two differ in that setting alone."""

    setting: str
    measure: str
    correlation: float
    """Of ranks (Spearman)."""
    p: float
    """Of a correlation as strong by chance, by permutation."""
    runs: int


class Sweep(Record):
    name: str
    varied: dict[str, tuple[str, ...]]
    """Setting -> its values."""
    objectives: tuple[str, ...]
    """The measures by which runs are set against one another: gold where that is known, or else scores on one scale."""
    cells: tuple[Cell, ...]
    effects: tuple[Effect, ...] = ()
    trends: tuple[Trend, ...] = ()
    unfinished: dict[str, str] = Field(default_factory=dict)
    """Run -> where it stands, of those that have no numbers."""
    seed_noise: dict[str, float] = Field(default_factory=dict)
    """Measure -> standard deviation between runs that differ in their seed alone."""


class _Measured(NamedTuple):
    source: Source
    settings: dict[str, str]
    columns: dict[str, Column]


def sweep_of(store: Store, name: str) -> Sweep:
    """Set the runs of a sweep against one another, from what they stored.

    Raises: NotFound where no run has its tag.
    """
    runs = _runs(store, name)
    done = [run for run in runs if run.state == "SUCCEEDED"]
    varied = _varied(runs)
    found = [_measured(store, run, varied) for run in done]
    objectives = _objectives(found)
    front = _front(found, objectives)
    return Sweep(
        name=name,
        varied=varied,
        objectives=objectives,
        cells=tuple(_cell(one, objectives, at in front) for at, one in enumerate(found)),
        effects=tuple(_effects(found, varied, objectives)),
        trends=tuple(_trends(found, varied, objectives)),
        unfinished={run.id: run.error or run.status for run in runs if run.state != "SUCCEEDED"},
        seed_noise=_seed_noise(found, objectives),
    )


def _runs(store: Store, name: str) -> list[Run]:
    """Of the sweep, the oldest first."""
    found, token = store.runs.page(1000, tags=[f"{TAG}={name}"])
    while token:
        more, token = store.runs.page(1000, token, tags=[f"{TAG}={name}"])
        found += more
    if not found:
        raise NotFound(f"no run belongs to a sweep '{name}'", hint="charter runs --tag sweep lists those of sweeps")
    return found[::-1]


def _varied(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Each setting that is not the same in all runs, with its values as they come; the seed last."""
    every = [_settings(run) for run in runs]
    keys = [key for key in dict.fromkeys(key for one in every for key in one) if key not in UNVARIED]
    values = {key: tuple(dict.fromkeys(one.get(key, "-") for one in every)) for key in keys}
    several = {key: found for key, found in values.items() if len(found) > 1}
    return {key: several[key] for key in sorted(several, key=lambda key: key == SEED)}


def _settings(run: Run) -> dict[str, str]:
    return dict(flat("", RunConfig.stored(run.config).model_dump(mode="json")))


def _measured(store: Store, run: Run, varied: Mapping[str, tuple[str, ...]]) -> _Measured:
    source, config = source_of(store, run.id), _settings(run)
    return _Measured(source, {key: config.get(key, "-") for key in varied}, columns_of(source))


def _objectives(found: Sequence[_Measured]) -> tuple[str, ...]:
    """Gold that every run has; without gold the scores that one reward model gave to all."""
    if not found:
        return ()
    shared = [name for name in found[0].columns if all(name in one.columns for one in found)]
    gold = tuple(name for name in shared if name.startswith("gold "))
    scores = (name for name in shared if name.startswith("score "))
    first = found[0].source
    alike = (n for n in scores if all(one_scale(n.removeprefix("score "), first, one.source) for one in found))
    return gold or tuple(alike)


def _front(found: Sequence[_Measured], objectives: Sequence[str]) -> set[int]:
    if not found or not objectives:
        return set()
    points = [[float(np.mean(list(one.columns[name].values()))) for name in objectives] for one in found]
    return set(np.flatnonzero(non_dominated(points)).tolist())


def _cell(one: _Measured, objectives: Sequence[str], on_front: bool) -> Cell:
    shown = {
        name: column for name, column in one.columns.items() if name in objectives or name in ("words", "refusals")
    }
    measures = {name: mean_estimate(list(column.values())) for name, column in shown.items()}
    return Cell(run_id=one.source.run.id, settings=one.settings, measures=measures, on_front=on_front)


def _effects(
    found: Sequence[_Measured], varied: Mapping[str, tuple[str, ...]], objectives: Sequence[str]
) -> Iterator[Effect]:
    """Each other value of a setting against its first one, on each objective."""
    for setting, values in varied.items():
        if setting == SEED:
            continue
        for after in values[1:]:
            pairs = list(_pairs(found, setting, values[0], after))
            told = (_effect(setting, values[0], after, measure, pairs) for measure in objectives)
            yield from filter(None, told)


def _pairs(found: Sequence[_Measured], setting: str, before: str, after: str) -> Iterator[tuple[_Measured, _Measured]]:
    """The runs that differ in one setting alone, and by these values."""
    for a, b in itertools.product(found, found):
        rest = [{key: text for key, text in one.settings.items() if key != setting} for one in (a, b)]
        if (a.settings[setting], b.settings[setting]) == (before, after) and rest[0] == rest[1]:
            yield a, b


def _effect(
    setting: str, before: str, after: str, measure: str, pairs: Sequence[tuple[_Measured, _Measured]]
) -> Effect | None:
    """Of the prompts that both runs of a pair answered, others under another seed; None where they are few."""
    both: dict[str, list[tuple[float, float]]] = {}
    each: list[float] = []
    for a, b in ((a.columns[measure], b.columns[measure]) for a, b in pairs):
        shared = [prompt for prompt in a if prompt in b]
        for prompt in shared:
            both.setdefault(prompt, []).append((a[prompt], b[prompt]))
        each += [float(np.mean([b[prompt] - a[prompt] for prompt in shared]))] if shared else []
    if len(both) < MIN_PROMPTS:
        return None
    means = np.array([np.mean(rows, axis=0) for rows in both.values()])
    difference, spread = difference_estimate(means[:, 0], means[:, 1]), _half_interval(each)
    verdict: Verdict = "shown"
    if difference.low <= 0 <= difference.high or (spread is not None and abs(difference.value) <= spread):
        verdict = "noise"
    elif spread is None:
        verdict = "shown by prompts, one pair of runs"
    return Effect(
        setting=setting,
        before=before,
        after=after,
        measure=measure,
        difference=difference,
        pairs=len(each),
        spread=spread,
        verdict=verdict,
    )


def _half_interval(values: Sequence[float]) -> float | None:
    """t x sd / sqrt(n) of the mean of n values; None of one."""
    n = len(values)
    if n < 2:
        return None
    return student_quantile(0.05, n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)


def _trends(
    found: Sequence[_Measured], varied: Mapping[str, tuple[str, ...]], objectives: Sequence[str]
) -> Iterator[Trend]:
    for setting, values in varied.items():
        paired = any(any(True for _ in _pairs(found, setting, values[0], after)) for after in values[1:])
        numbers = [_number(one.settings[setting]) for one in found]
        if setting == SEED or paired or len(found) < MIN_RUNS or None in numbers:
            continue
        x = [float(number) for number in numbers if number is not None]
        for measure in objectives:
            y = [float(np.mean(list(one.columns[measure].values()))) for one in found]
            yield Trend(setting=setting, measure=measure, correlation=spearman(x, y), p=_by_chance(x, y), runs=len(x))


def _by_chance(x: Sequence[float], y: Sequence[float]) -> float:
    """Share of shuffled orders with a rank correlation at least as strong, the one seen counted too."""
    strength, rng = abs(spearman(x, y)), np.random.default_rng(0)
    as_strong = sum(abs(spearman(x, rng.permutation(y))) >= strength - 1e-12 for _ in range(PERMUTATIONS))
    return (as_strong + 1) / (PERMUTATIONS + 1)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _seed_noise(found: Sequence[_Measured], objectives: Sequence[str]) -> dict[str, float]:
    """Pooled over the settings that were run with several seeds; nothing where none were."""
    groups: dict[tuple[tuple[str, str], ...], list[_Measured]] = {}
    for one in found:
        groups.setdefault(tuple((key, text) for key, text in one.settings.items() if key != SEED), []).append(one)
    several = [group for group in groups.values() if len(group) > 1]
    noise: dict[str, float] = {}
    for measure in objectives if several else ():
        means = [[float(np.mean(list(one.columns[measure].values()))) for one in group] for group in several]
        squares = sum(float(np.square(np.array(row) - np.mean(row)).sum()) for row in means)
        noise[measure] = math.sqrt(squares / sum(len(row) - 1 for row in means))
    return noise
