"""Weights for a run under way: checked like those that a run begins with, then left for its next step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_core.config.run import RunConfig, stages_of
from rlhf_core.config.scalarization import check_dial
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.weights import resolve_weights
from rlhf_core.errors import Conflict, InvalidInput
from rlhf_core.store.store import Store


def set_weights(store: Store, run_id: str, weights: Mapping[str, float], etag: str) -> dict[str, float]:
    """Leave weights for the run's next PPO step; returns one for every objective.

    Raises: InvalidInput for weights that make no direction, Conflict when the run has no PPO step left, Stale when
    it has another etag by now.
    """
    # Nothing is written on it: this reads the run, and looks at its etag.
    run = store.runs.update(run_id, {}, etag)
    if not weights:
        raise InvalidInput("weights: none are given; name at least one objective, as in harmless=2", "weights")
    config = RunConfig.stored(run.config)
    if "ppo" not in stages_of(config):
        raise Conflict(f"run '{run_id}' is of kind '{run.kind}' and has no PPO, which is where weights count")
    if "ppo" in store.stage_results.of_run(run_id):
        raise Conflict(f"run '{run_id}' has done its PPO; start another with these weights")
    constitution = parse_constitution(store.constitutions.text(run.constitution_hash), run.constitution_hash)
    resolved = resolve_weights(constitution, weights)
    check_dial(config.ppo.dial, resolved, constitution.objective_names)
    store.weights.ask(run_id, resolved)
    return resolved


def check_steering(config: RunConfig, objectives: Sequence[str]) -> None:
    """Raise InvalidInput where a run's dial or stop rule could not do what it says."""
    check_dial(config.ppo.dial, config.weights, objectives)
    trains = "reward" in stages_of(config) and "ppo" in stages_of(config)
    if trains and config.ppo.stop.parted == "stop" and not config.reward.auditor_share:
        raise InvalidInput(
            "ppo.stop.parted: 'stop' asks auditors, and reward.auditor_share is 0; allowed: a share above 0, such as "
            "0.3, or parted: warn",
            "ppo.stop.parted",
        )
    if config.norm.require_gain and not (config.norm.best_of and (config.reward.auditor_share or config.from_run)):
        raise InvalidInput(
            "norm.require_gain asks auditors about the best of n; give norm.best_of and reward.auditor_share",
            "norm.require_gain",
        )
    if config.label.on_policy and config.from_run is None:
        raise InvalidInput("label.on_policy: name the run whose policy is to be labelled in from_run", "from_run")
