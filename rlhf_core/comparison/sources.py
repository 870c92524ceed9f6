"""What the store holds of a run that a comparison reads: its last policy's rows, its scale, its watched steps."""

from __future__ import annotations

from typing import NamedTuple

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import NotFound
from rlhf_core.evaluation.policy_rows import PolicyRows, gold_sd
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import Run, WatchPoint
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.ancestry import begun_with, results_of, weights_in_ppo
from rlhf_core.store.store import Store

HELD_OUT = "evaluate"
"""The stage under which replies to held-out prompts are stored."""


class Drawn(NamedTuple):
    """How replies were drawn."""

    temperature: float
    max_tokens: int


class Source(NamedTuple):
    run: Run
    config: RunConfig
    policy: PolicyRows
    drawn: Drawn
    """How the policy's replies to held-out prompts were, by the run that evaluated it."""
    pack: NormPack | None
    watched: list[WatchPoint]


class Terms(NamedTuple):
    """How a run weighs its objectives."""

    weights: dict[str, float]
    """Those that held at the end."""
    gold_sd: dict[str, float]
    """Spread of gold over the reference policy's samples, of the objectives where it is known."""


def source_of(store: Store, reference: str) -> Source:
    """Read a run. Raises NotFound where there is none of that name, or it has evaluated nothing."""
    run = store.runs.find(reference)
    results = results_of(store, run.id)
    if "evaluate" not in results:
        raise NotFound(f"run '{run.id}' is {run.status} and has evaluated no policy, so there is nothing to compare")
    last = results.get("ppo") or results.get("sft")
    version, measured = last.policy_version if last else BASE_POLICY, results["evaluate"].run_id
    samples = store.samples.of_run(measured, stage=HELD_OUT, policy_version=version)
    ids = {sample.id for sample in samples}
    rows = PolicyRows(
        name=run.display_name or run.short_id,
        policy_version=version,
        samples=samples,
        scores=[score for score in store.scores.of_run(measured) if score.sample_id in ids],
        gold=[grade for grade in store.gold_scores.of_run(measured) if grade.sample_id in ids],
    )
    packed, trained = results.get("norm_pack"), results.get("ppo")
    evaluated = RunConfig.stored(store.runs.get(measured).config)
    return Source(
        run=run,
        config=RunConfig.stored(run.config),
        policy=rows,
        drawn=Drawn(evaluated.evaluation.temperature, evaluated.model.max_tokens),
        pack=store.norm_packs.get(packed.norm_pack) if packed else None,
        watched=store.watch_points.of_run(trained.run_id) if trained else [],
    )


def terms_of(store: Store, source: Source) -> Terms:
    """Read how a run weighs its objectives."""
    packed = results_of(store, source.run.id).get("norm_pack")
    return Terms(_weights(store, source), _gold_sd(store, packed.run_id) if packed else {})


def _weights(store: Store, source: Source) -> dict[str, float]:
    """Those that PPO ended with, whichever run did it; of a run without PPO its own, or the constitution's."""
    held = weights_in_ppo(store, results_of(store, source.run.id))
    if held:
        return list(held.values())[-1]
    return begun_with(store, source.run, source.config)


def _gold_sd(store: Store, scaled: str) -> dict[str, float]:
    """Of the run that took the scale."""
    reference = {sample.id for sample in store.samples.of_run(scaled, stage="norm_pack")}
    rows = [grade for grade in store.gold_scores.of_run(scaled) if grade.sample_id in reference]
    return gold_sd(rows, tuple(dict.fromkeys(row.kind for row in rows)))
