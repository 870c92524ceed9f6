"""Runs that go on from another: its configuration and its very constitution, but for what is to be different."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rlhf_core.config.run import RunConfig
    from rlhf_core.records.runs import Run
    from services.client.client import CharterClient


def following(run: Run, start: Mapping[str, Any], overrides: Sequence[str] = ()) -> RunConfig:
    """Return the run's configuration, to go on from it: with the overrides and then `start` laid over it.

    Raises InvalidInput for overrides that do not go with it.
    """
    from rlhf_core.config.run import RunConfig
    from services.cli.run_config import Setting, override_setting, spread, validate

    tree = RunConfig.stored(run.config).model_dump(mode="json")
    own = {"kind": "pipeline", "from_run": run.id, "constitution": run.constitution_hash}
    # The overrides are checked with what they are laid over, as by themselves they need not make a configuration.
    changed = [spread(override_setting(text)) for text in overrides]
    below, above = (
        [spread(Setting((key,), value, f"run {run.id}")) for key, value in layer.items()]
        for layer in (tree, {**own, **start})
    )
    return validate(list(chain.from_iterable([*below, *changed, *above])), RunConfig, "")


def control_of(client: CharterClient, run: Run, overrides: Sequence[str] = ()) -> RunConfig:
    """Return the configuration of a run that trains PPO's control beside a run's PPO, with as many steps.

    Raises InvalidInput where the run has done no PPO.
    """
    from rlhf_core.config.run import RunConfig
    from rlhf_core.errors import InvalidInput

    trained = _with_ppo(client, run)
    if trained is None:
        missing = f"run '{run.id}' has no finished PPO to set a control against"
        raise InvalidInput(f"{missing}; {_allowed(client)}", "control")
    ppo = RunConfig.stored(trained.config).ppo
    settings = {"ppo": ppo.model_copy(update={"control_steps": ppo.steps})}
    config = RunConfig.stored(run.config).model_copy(update=settings)
    alike = run.model_copy(update={"config": config.model_dump_json()})
    return following(alike, {"start_at": "control"}, overrides)


def _with_ppo(client: CharterClient, run: Run) -> Run | None:
    """The run, or the one that it took its PPO from; None where that is not done."""
    from rlhf_core.config.run import RunConfig, stages_of
    from rlhf_core.records.base import STAGES

    config, behind = RunConfig.stored(run.config), STAGES[STAGES.index("ppo") + 1 :]
    if "ppo" in stages_of(config):
        return run if run.state == "SUCCEEDED" or run.stage in behind else None
    if config.from_run is None or stages_of(config)[0] not in behind:
        return None
    return _with_ppo(client, client.trainer.get_run(config.from_run))


def _allowed(client: CharterClient) -> str:
    found = [run.id for run in client.trainer.list_runs().runs if _with_ppo(client, run)]
    return f"allowed: {', '.join(found)}" if found else "no run here has; start one with: charter run"
