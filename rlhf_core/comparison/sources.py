"""What the store holds of a run that a comparison reads: its last policy's rows, its scale, its watched steps."""

from __future__ import annotations

from typing import NamedTuple

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import NotFound
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.records.models import NormPack
from rlhf_core.records.runs import Run, WatchPoint
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.ancestry import results_of
from rlhf_core.store.store import Store

HELD_OUT = "evaluate"
"""The stage under which replies to held-out prompts are stored."""


class Source(NamedTuple):
    run: Run
    config: RunConfig
    policy: PolicyRows
    pack: NormPack | None
    watched: list[WatchPoint]


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
    return Source(
        run,
        RunConfig.model_validate_json(run.config),
        rows,
        store.norm_packs.get(packed.norm_pack) if packed else None,
        store.watch_points.of_run(trained.run_id) if trained else [],
    )
