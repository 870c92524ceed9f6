"""What a run takes over from its `from_run`, and from the runs that that one came from: results, and PPO's weights."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_core.config.run import RunConfig, stages_of
from rlhf_core.config.scalarization import weights_at
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.records.base import STAGES, Stage
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.store.store import Store


def inherited(store: Store, config: RunConfig) -> dict[Stage, StageResult]:
    """Return the results that a run inherits: those of the stages before the first that it goes through itself.

    Later ones were made from what the run now makes anew. Each result names the run that did the stage.
    """
    if config.from_run is None:
        return {}
    before = STAGES[: STAGES.index(stages_of(config)[0])]
    return {stage: result for stage, result in results_of(store, config.from_run).items() if stage in before}


def results_of(store: Store, run_id: str) -> dict[Stage, StageResult]:
    """Return the results that a run can hand on: what it inherited, then what it has done."""
    config = RunConfig.stored(store.runs.get(run_id).config)
    return inherited(store, config) | store.stage_results.of_run(run_id)


def weights_in_ppo(store: Store, results: Mapping[Stage, StageResult]) -> dict[int, dict[str, float]]:
    """Return step -> weights from that step on, counted from 1; none where no PPO is among the results.

    Those that the run began with, those of `ppo.dial.weights_at`, and those that people gave it on its way, which end
    the schedule; none that came after the step whose policy the run kept.
    """
    if "ppo" not in results:
        return {}
    run, version = store.runs.get(results["ppo"].run_id), results["ppo"].policy_version
    config, last = RunConfig.stored(run.config), store.policy_versions.get(version).step
    changes: dict[int, dict[str, float]] = {}
    for change in store.weights.of_run(run.id):
        if change.from_step is not None:
            # A step that was done again, after a crash, may have taken later ones.
            earlier = {step: row for step, row in changes.items() if step < change.from_step}
            changes = earlier | {change.from_step: dict(change.weights)}
    dial, begun, first = config.ppo.dial, begun_with(store, run, config), min(changes, default=last + 1)
    planned = {step: dict(row) for step, row in dial.weights_at.items() if step < first}
    if dial.between == "linear" and dial.weights_at and (held := min(first - 1, last)) > 1:
        planned[held] = weights_at(dial, begun, held)
    found = {1: dict(begun)} | planned | changes
    return {step: row for step, row in sorted(found.items()) if step <= last}


def told(weights: Mapping[str, float]) -> str:
    """Say weights in words, as in `helpful 1, harmless 0.5`."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def begun_with(store: Store, run: Run, config: RunConfig) -> dict[str, float]:
    """Return the weights that a run began with: the configured ones, or its constitution's."""
    if config.weights:
        return dict(config.weights)
    return parse_constitution(store.constitutions.text(run.constitution_hash), run.constitution_hash).default_weights()
