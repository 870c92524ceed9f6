"""From stored rows to numbers: every policy on the same held-out prompts, by gold, by proxy and by weight."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import Field

from rlhf_core.config.monitors import MonitorConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.gains import Gain, Judged, gains, judged_by_models
from rlhf_core.evaluation.monitors import Drift, Monitors, drifts, monitor
from rlhf_core.evaluation.pareto import FrontPoint, answer_scores, best_answers, direction, oracle_front
from rlhf_core.evaluation.policy_rows import HARM, PolicyRows, PromptTable
from rlhf_core.evaluation.prompt_changes import PromptChanges, prompt_changes
from rlhf_core.evaluation.statistics import (
    Array,
    Estimate,
    cluster_bootstrap,
    difference_estimate,
    mean_estimate,
    wilson,
)
from rlhf_core.interfaces import Gold
from rlhf_core.records.base import Record
from rlhf_core.records.models import NormPack
from rlhf_core.records.samples import Prompt
from rlhf_core.text_detectors import refuses

REFERENCE_UNITS = "reference sd"
RAW_UNITS = "gold"


class StageEvaluation(Record):
    """One policy's numbers; the baseline of each is the first policy's."""

    name: str
    policy_version: str
    n_prompts: int
    n_samples: int
    gold: dict[str, Estimate]
    """Objective -> mean gold score, in the world's own units."""
    proxy: dict[str, Estimate]
    """Objective -> mean reward-model score, in reference standard deviations."""
    gold_change: dict[str, Estimate]
    """Objective -> gold minus the first policy's, paired by prompt."""
    harm_by_kind: dict[str, Estimate]
    length: Estimate
    """Response tokens."""
    unfinished: Estimate
    """Share of responses cut at the token limit; n counts prompts, which makes the interval a cautious one."""
    refusals: Estimate
    """Share of responses that open with words of refusal."""
    monitors: Monitors | None = None
    """How the responses sound; lengths beside the first policy's."""
    drifts: tuple[Drift, ...] = ()
    """What has passed a limit, against the first policy."""


class WeightedEvaluation(Record):
    """The weighted gold score sum(w_k g_k / s_k) / sum(w_k), and how much of the way to the oracle was gone."""

    units: str
    """`reference sd`: s_k is the sd of gold over the NormPack's samples, as weights mean in PPO; `gold`: s_k is 1."""
    stages: dict[str, Estimate]
    start: Estimate
    end: Estimate
    oracle: Estimate
    fraction: Estimate | None
    """(end - start) / (oracle - start); none where the first policy is as good as the oracle."""


class Evaluation(Record):
    objectives: tuple[str, ...]
    weights: dict[str, float]
    stages: tuple[StageEvaluation, ...]
    gold_sd: dict[str, float] = Field(default_factory=dict)
    weighted: WeightedEvaluation | None = None
    weighted_raw: WeightedEvaluation | None = None
    oracle: dict[str, float] = Field(default_factory=dict)
    """Objective -> the oracle's mean gold score at these weights."""
    front: tuple[FrontPoint, ...] = ()
    control: StageEvaluation | None = None
    """PPO without its rewards."""
    gains: tuple[Gain, ...] = ()
    """What each part of the training added, by each judge that there is."""
    changes: PromptChanges | None = None
    """The last policy against the first, by prompt; none where there is one policy, or no judge."""
    notes: tuple[str, ...] = ()


def evaluate(
    policies: Sequence[PolicyRows],
    *,
    objectives: Sequence[str],
    weights: Mapping[str, float],
    norm_pack: NormPack | None = None,
    gold: Gold | None = None,
    gold_scale: Mapping[str, float] | None = None,
    limits: MonitorConfig | None = None,
    control: PolicyRows | None = None,
    auditor_pack: NormPack | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Evaluate policies, the one before training first, on the prompts that they share.

    `gold_scale` is `gold_sd` of the NormPack's samples; without it, or without `gold`, nothing weighted is reported.
    `control` is set against the last policy, and against the one before.
    """
    if not policies or not policies[0].samples:
        raise InvalidInput("evaluation: no samples to evaluate; allowed: at least one policy with samples")
    prompts = {sample.prompt.id: sample.prompt for sample in policies[0].samples}
    tables = [PromptTable(policy, list(prompts)) for policy in policies]
    watched = limits or MonitorConfig()
    stages = tuple(_stage(table, tables[0], objectives, norm_pack, watched, resamples, seed) for table in tables)
    beside = PromptTable(control, list(prompts)) if control else None
    chain = [*tables[:-1], *([beside] if beside else []), tables[-1]]
    result = Evaluation(
        objectives=tuple(objectives),
        weights=dict(weights),
        stages=stages,
        control=_stage(beside, tables[0], objectives, norm_pack, watched, resamples, seed) if beside else None,
    )
    judges = judged_by_models(chain, weights, {"auditor": auditor_pack, "reward model": norm_pack})
    measured: dict[str, Any] = {}
    if gold is not None and gold_scale is not None:
        measured = _against_oracle(tables, chain, list(prompts.values()), weights, gold, gold_scale, resamples, seed)
        judges = [*measured.pop("judged", ()), *judges]
    measured["gains"] = tuple(gain for one in judges for gain in gains(one, resamples=resamples, seed=seed))
    if judges and len(tables) > 1:
        measured["changes"] = prompt_changes(tables[0].policy, tables[-1].policy, judges[0], list(prompts))
    return result.model_copy(update=measured)


def _stage(
    table: PromptTable,
    first: PromptTable,
    objectives: Sequence[str],
    pack: NormPack | None,
    limits: MonitorConfig,
    resamples: int,
    seed: int,
) -> StageEvaluation:
    def estimate(values: Array, baseline: Array) -> Estimate:
        return mean_estimate(values, resamples=resamples, seed=seed, baseline=float(baseline.mean()))

    def share(which: Sequence[bool]) -> Estimate:
        return wilson(float(table.means(which).sum()), len(table.order))

    samples, rows = table.policy.samples, table.policy.gold
    heard = monitor(samples, first.policy.samples)
    graded = [name for name in objectives if any(row.kind == name for row in rows)]
    kinds = sorted({row.kind for row in (*rows, *first.policy.gold) if row.kind.startswith(HARM)})
    scored = [name for name in objectives if pack and name in pack.objectives]
    return StageEvaluation(
        name=table.policy.name,
        policy_version=table.policy.policy_version,
        n_prompts=len(table.order),
        n_samples=len(samples),
        gold={name: estimate(table.gold(name), first.gold(name)) for name in graded},
        proxy={name: estimate(table.proxy(name, pack), first.proxy(name, pack)) for name in scored if pack},
        gold_change={
            name: difference_estimate(first.gold(name), table.gold(name), resamples=resamples, seed=seed)
            for name in graded
            if table is not first
        },
        harm_by_kind={kind.removeprefix(HARM): estimate(table.gold(kind), first.gold(kind)) for kind in kinds},
        length=estimate(
            table.means([s.tokens for s in samples]), first.means([s.tokens for s in first.policy.samples])
        ),
        unfinished=share([not sample.finished for sample in samples]),
        refusals=share([refuses(sample.response) for sample in samples]),
        monitors=heard,
        drifts=drifts(heard, limits, monitor(first.policy.samples)) if table is not first else (),
    )


def _against_oracle(
    tables: Sequence[PromptTable],
    chain: Sequence[PromptTable],
    prompts: Sequence[Prompt],
    weights: Mapping[str, float],
    gold: Gold,
    scale: Mapping[str, float],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The fields of Evaluation that need the oracle, and the policies as `judged` by gold."""
    names = gold.objectives
    flat = [name for name in names if not scale[name] > 0]
    if flat:
        note = f"gold score '{flat[0]}' does not vary in the reference samples, so weighted scores have no unit"
        return {"gold_sd": dict(scale), "notes": (note,)}
    answers = answer_scores(gold, prompts)
    known: dict[str, Any] = {"gold_sd": dict(scale), "front": tuple(oracle_front(answers, names, scale))}
    beyond = [name for name, weight in weights.items() if weight and name not in names]
    if beyond or not any(weights.get(name) for name in names):
        what = f"of '{beyond[0]}', which has a weight" if beyond else "of what has a weight"
        return known | {"notes": (f"gold says nothing {what}, so the weighted score has no oracle",)}
    weights = {name: weights.get(name, 0.0) for name in names}
    scores = {table.policy.name: np.stack([table.gold(name) for name in names], axis=1) for table in tables}
    towards = direction(weights, scale, names)
    plain = direction(weights, dict.fromkeys(names, 1.0), names)
    best = best_answers(answers, towards)
    steps = {table.policy.name: np.stack([table.gold(name) for name in names], axis=1) for table in chain}
    return known | {
        "judged": [Judged("gold", names, steps, towards, best)],
        "weighted": _weighted(scores, answers, towards, REFERENCE_UNITS, resamples, seed),
        "weighted_raw": _weighted(scores, answers, plain, RAW_UNITS, resamples, seed),
        "oracle": dict(zip(names, best.mean(axis=0).tolist(), strict=True)),
    }


def _weighted(
    scores: Mapping[str, Array], answers: Sequence[Array], towards: Array, units: str, resamples: int, seed: int
) -> WeightedEvaluation:
    """(P, K) gold scores of each policy -> the way from the first policy through the others to the oracle."""
    means = {name: table @ towards for name, table in scores.items()}
    oracle = best_answers(answers, towards) @ towards
    start, end = next(iter(means.values())), list(means.values())[-1]
    baseline = float(start.mean())
    stages = {
        name: mean_estimate(column, resamples=resamples, seed=seed, baseline=baseline) for name, column in means.items()
    }

    def gone(columns: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (columns[:, 1] - columns[:, 0]) / (columns[:, 2] - columns[:, 0])

    fraction = None
    if oracle.mean() - baseline > 1e-9:
        fraction = cluster_bootstrap(np.stack([start, end, oracle], axis=1), gone, resamples=resamples, seed=seed)
    defined = fraction if fraction and math.isfinite(fraction.low) and math.isfinite(fraction.high) else None
    return WeightedEvaluation(
        units=units,
        stages=stages,
        start=next(iter(stages.values())),
        end=list(stages.values())[-1],
        oracle=mean_estimate(oracle, resamples=resamples, seed=seed, baseline=baseline),
        fraction=defined,
    )
