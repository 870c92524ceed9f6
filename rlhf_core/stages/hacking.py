"""What the report says of reward hacking, from stored rows: watched steps, and choices among many samples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from rlhf_core.config import RunConfig
from rlhf_core.evaluation.best_of_n import BestOfN, best_of_n_curves
from rlhf_core.evaluation.goodhart import Goodhart, goodhart
from rlhf_core.evaluation.rows import PolicyRows, gold_sd
from rlhf_core.run_records import WatchPoint
from rlhf_core.stages.best_of import BEST_OF
from rlhf_core.stages.context import Context


def gold_scale(ctx: Context) -> dict[str, float] | None:
    """Spread of each objective's gold over the reference policy's samples, where a world knows gold."""
    packed, world = ctx.results.get("norm_pack"), ctx.tools.world
    if packed is None or world is None:
        return None
    reference = {sample.id for sample in ctx.store.samples(packed.run_id, stage="norm_pack")}
    rows = [grade for grade in ctx.store.gold(packed.run_id) if grade.sample_id in reference]
    return gold_sd(rows, world.gold.objectives)


def goodhart_curves(ctx: Context, scale: dict[str, float] | None) -> tuple[Goodhart, ...]:
    """Of the run that did PPO, up to the step at which that ended."""
    trained = ctx.results.get("ppo")
    points = ctx.store.watch_points(trained.run_id) if trained else []
    step = ctx.store.policy_version(trained.policy_version).step if trained else None
    settings = {"resamples": ctx.config.evaluation.bootstrap, "seed": ctx.config.seed}
    found = []
    for name in dict.fromkeys(point.objective for point in points):
        rows = [point for point in points if point.objective == name]
        found.append(goodhart(rows, (scale or {}).get(name), step, **settings))
    return tuple(curve for curve in found if curve is not None)


def climb(ctx: Context, scale: dict[str, float] | None) -> Goodhart | None:
    """The same of the weighted sum, which is what PPO is after: sum_k w_k z_k / sum_k w_k, prompt by prompt.

    The weights are those that PPO had, whatever this run's are. None where nothing was watched, or where the weights
    changed on the way, so that PPO was after no one sum.
    """
    trained = ctx.results.get("ppo")
    points = ctx.store.watch_points(trained.run_id) if trained else []
    if trained is None or not points:
        return None
    config = RunConfig.model_validate_json(ctx.store.run(trained.run_id).config)
    taken = [change for change in ctx.store.weight_changes(trained.run_id) if change.from_step is not None]
    if taken or config.ppo.dial.weights_at:
        return None
    weights = config.weights or ctx.weights
    steps: dict[int, list[WatchPoint]] = defaultdict(list)
    for point in points:
        if weights.get(point.objective):
            steps[point.step].append(point)
    summed = [_summed(rows, weights, scale or {}) for rows in steps.values()]
    last = ctx.store.policy_version(trained.policy_version).step
    return goodhart(summed, 1.0, last, resamples=ctx.config.evaluation.bootstrap, seed=ctx.config.seed)


def _summed(rows: Sequence[WatchPoint], weights: Mapping[str, float], scale: Mapping[str, float]) -> WatchPoint:
    """One step's objectives as one; a judge that does not know all of them is left out."""
    shares = np.array([weights[row.objective] for row in rows])
    shares /= shares.sum()

    def mean(name: str, units: Sequence[float]) -> tuple[float, ...]:
        columns = [np.array(getattr(row, name)) for row in rows]
        if not all(len(column) for column in columns) or not all(units):
            return ()
        return tuple((shares / np.array(units) @ np.stack(columns)).tolist())

    plain, spread = [1.0] * len(rows), [scale.get(row.objective, 0.0) for row in rows]
    found = {"proxy": mean("proxy", plain), "auditor": mean("auditor", plain), "gold": mean("gold", spread)}
    return rows[0].model_copy(update={"objective": "weighted", **found})


def best_of_curves(ctx: Context, scale: dict[str, float] | None) -> tuple[BestOfN, ...]:
    """Of the run that measured the reward models, where it chose among many samples."""
    packed = ctx.results.get("norm_pack")
    samples = ctx.store.samples(packed.run_id, stage=BEST_OF) if packed else []
    if packed is None or not samples:
        return ()
    ids = {sample.id for sample in samples}
    rows = PolicyRows(
        name="reference",
        policy_version=samples[0].policy_version,
        samples=samples,
        scores=[score for score in ctx.store.scores(packed.run_id) if score.sample_id in ids],
        gold=[grade for grade in ctx.store.gold(packed.run_id) if grade.sample_id in ids],
    )
    pack = ctx.store.norm_pack(packed.norm_pack)
    auditors = ctx.store.norm_pack(packed.auditor_pack) if packed.auditor_pack else None
    return best_of_n_curves(
        rows, pack, auditors, scale, resamples=ctx.config.evaluation.bootstrap, seed=ctx.config.seed
    )
