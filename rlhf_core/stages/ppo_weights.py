"""The weights that held in the PPO behind a run, whichever run did it."""

from __future__ import annotations

from collections.abc import Mapping

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.records.base import Stage
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store


def weights_in_ppo(store: Store, results: Mapping[Stage, StageResult]) -> dict[int, dict[str, float]]:
    """Return step -> weights from that step on, counted from 1; none where no PPO is among the results.

    Those that the run began with, those of `ppo.dial.weights_at`, and those that people gave it on its way, which end
    the schedule.
    """
    if "ppo" not in results:
        return {}
    run = store.runs.get(results["ppo"].run_id)
    config, given = RunConfig.stored(run.config), store.weights.of_run(run.id)
    changes = {change.from_step: dict(change.weights) for change in given if change.from_step is not None}
    first = min(changes, default=None)
    dial = {step: dict(row) for step, row in config.ppo.dial.weights_at.items() if first is None or step < first}
    law = parse_constitution(store.constitutions.text(run.constitution_hash), run.constitution_hash)
    begun = resolve_weights(law, config.weights)
    return dict(sorted(({1: dict(begun)} | dial | changes).items()))


def told(weights: Mapping[str, float]) -> str:
    """Say weights in words, as in `helpful 1, harmless 0.5`."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())
