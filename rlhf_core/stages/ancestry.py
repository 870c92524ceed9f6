"""Collect the results that a run takes over: those of its `from_run`, and of the runs that that one came from."""

from __future__ import annotations

from rlhf_core.config.run import RunConfig, stages_of
from rlhf_core.records.base import STAGES, Stage
from rlhf_core.records.runs import StageResult
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
