"""The policy that a run made beside the one that is production: what both answered to the same held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.pareto import direction
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.report.record import BesideProduction
from rlhf_core.evaluation.statistics import Array, difference_estimate
from rlhf_core.records.models import PRODUCTION, NormPack
from rlhf_core.records.samples import Sample
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context
from rlhf_core.stages.evaluate import HELD_OUT

MIN_SHARED = 10
"""Prompts; of fewer nothing is said."""


def against_production(
    ctx: Context, final: PolicyRows, pack: NormPack | None, gold_scale: Mapping[str, float] | None
) -> BesideProduction | None:
    """Set the run's last policy against production; by gold, or else by this run's reward models.

    None where nobody is production, where this is the one, or where it answered too few of these prompts alike.
    """
    version = ctx.store.aliases.holder(PRODUCTION)
    if version in ("", final.policy_version):
        return None
    theirs = _answers(ctx, version)
    shared = {s.prompt.id for s in final.samples} & {s.prompt.id for s in theirs}
    if len(shared) < MIN_SHARED:
        return None
    sides = [[sample for sample in side if sample.prompt.id in shared] for side in (theirs, final.samples)]
    if gold_scale is not None:
        judge, columns, scale = "gold", [_by_gold(ctx, side) for side in sides], gold_scale
    elif pack is not None:
        judge, columns = "reward model", [_by_models(ctx, side, pack) for side in sides]
        scale = dict.fromkeys(pack.objectives, 1.0)
    else:
        return None
    weights = {name: ctx.weights.get(name, 0.0) for name in scale}
    weighted = None
    if any(weights.values()) and all(scale[name] > 0 for name in scale):
        towards = direction(weights, scale, list(scale))
        weighted = difference_estimate(
            *(np.stack([side[name] for name in scale], axis=1) @ towards for side in columns)
        )
    return BesideProduction(
        policy_version=version,
        judge=judge,
        prompts=len(shared),
        objectives={name: difference_estimate(*(side[name] for side in columns)) for name in scale},
        weighted=weighted,
    )


def _answers(ctx: Context, version: str) -> Sequence[Sample]:
    """What the run that made a version has stored of its answers to held-out prompts, given as here; else nothing."""
    measured = results_of(ctx.store, ctx.store.policy_versions.get(version).run_id).get("evaluate")
    if measured is None:
        return ()
    # The run that evaluated, which need not be the one that trained.
    theirs = RunConfig.stored(ctx.store.runs.get(measured.run_id).config)
    given = [(config.model.max_tokens, config.evaluation.temperature) for config in (ctx.config, theirs)]
    if given[0] != given[1]:
        return ()
    return ctx.store.samples.of_run(measured.run_id, stage=HELD_OUT, policy_version=version)


def _by_gold(ctx: Context, samples: Sequence[Sample]) -> dict[str, Array]:
    """Kind -> means by prompt."""
    if ctx.tools.world is None:
        return {}
    gold = ctx.tools.world.gold
    graded = [gold.score(sample.prompt, sample.response) for sample in samples]
    return {kind: _means(samples, [grade[kind] for grade in graded]) for kind in gold.objectives}


def _by_models(ctx: Context, samples: Sequence[Sample], pack: NormPack) -> dict[str, Array]:
    """Objective -> means by prompt, in this run's reference standard deviations."""
    rows = ctx.tools.scorer.score(samples, pack.reward_models)
    found: dict[str, Array] = {}
    scales = zip(pack.objectives, pack.reward_models, pack.mean, pack.sd, strict=True)
    for name, model, mean, sd in scales:
        scores = {row.sample_id: row.score for row in rows if row.reward_model == model}
        found[name] = _means(samples, [(scores[sample.id] - mean) / sd for sample in samples])
    return found


def _means(samples: Sequence[Sample], values: Sequence[float]) -> Array:
    """By prompt, in the order of their ids."""
    by_prompt: dict[str, list[float]] = {}
    for sample, value in zip(samples, values, strict=True):
        by_prompt.setdefault(sample.prompt.id, []).append(value)
    return np.array([float(np.mean(by_prompt[prompt])) for prompt in sorted(by_prompt)])
