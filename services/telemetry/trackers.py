"""The trackers that a run's metrics can go to: TensorBoard, Weights & Biases, MLflow, trackio.

Each stage counts its own steps, so a metric is called `stage/name` and stands at its stage's step.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.config.tracking import TrackerName
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import StepMetrics


class TrackedRun(NamedTuple):
    """What a tracker is told of a run when it begins; a run that goes on has the same id."""

    id: str
    name: str
    project: str
    config: Mapping[str, Any]
    folder: Path
    """The run's own."""


class Tracker(NamedTuple):
    """A run's place in a tracker that is open."""

    log: Callable[[StepMetrics], None]
    close: Callable[[RunState], None]


def tensorboard(run: TrackedRun) -> Tracker:
    """Open event files in the run's folder: `tensorboard --logdir DATA/runs`."""
    from tensorboard.summary import Writer

    writer = Writer(str(run.folder / "tensorboard"))

    def log(metrics: StepMetrics) -> None:
        for name, value in named(metrics).items():
            writer.add_scalar(name, value, step=metrics.step)
        writer.flush()

    return Tracker(log, lambda state: writer.close())


def wandb(run: TrackedRun) -> Tracker:
    """Open a run of the same id; with WANDB_MODE=offline it stays on this machine."""
    # Like the two below it is the user's to install.
    import wandb as client  # pyright: ignore[reportMissingImports]

    # `init` would ask for a key at the terminal, where others read what is typed.
    if os.environ.get("WANDB_MODE") not in ("offline", "disabled") and not client.login(prompt=False):
        raise PermissionError("WANDB_API_KEY is not set; WANDB_MODE=offline keeps the run on this machine")
    own = client.init(project=run.project, id=run.id, name=run.name, config=dict(run.config), resume="allow")
    return Tracker(
        lambda metrics: own.log(named(metrics) | {f"{metrics.stage}/step": float(metrics.step)}),
        lambda state: own.finish(exit_code=int(state == "FAILED")),
    )


def mlflow(run: TrackedRun) -> Tracker:
    """Open a run with the tag `charter.run` in the project's experiment, on the server of MLFLOW_TRACKING_URI."""
    from mlflow.entities import Metric  # pyright: ignore[reportMissingImports]
    from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

    client = MlflowClient()
    experiment = client.get_experiment_by_name(run.project)
    place = experiment.experiment_id if experiment else client.create_experiment(run.project)
    earlier = client.search_runs([place], f"tags.\"charter.run\" = '{run.id}'")
    tags = {"charter.run": run.id}
    own = earlier[0] if earlier else client.create_run(place, run_name=run.name, tags=tags)
    if not earlier:
        for key, value in flat(run.config).items():
            client.log_param(own.info.run_id, key, value)

    def log(metrics: StepMetrics) -> None:
        entries = [Metric(name, value, int(time.time() * 1000), metrics.step) for name, value in named(metrics).items()]
        client.log_batch(own.info.run_id, metrics=entries)

    ended = {"SUCCEEDED": "FINISHED", "FAILED": "FAILED", "CANCELLED": "KILLED"}
    return Tracker(log, lambda state: client.set_terminated(own.info.run_id, ended.get(state, "SCHEDULED")))


def trackio(run: TrackedRun) -> Tracker:
    """Open a run of the same id in trackio's own database."""
    import trackio as client  # pyright: ignore[reportMissingImports]

    own = client.init(project=run.project, name=run.id, config=dict(run.config), resume="allow")
    return Tracker(
        lambda metrics: own.log(named(metrics) | {f"{metrics.stage}/step": float(metrics.step)}),
        lambda state: own.finish(),
    )


TRACKERS: Mapping[TrackerName, Callable[[TrackedRun], Tracker]] = {
    "tensorboard": tensorboard,
    "wandb": wandb,
    "mlflow": mlflow,
    "trackio": trackio,
}


def named(metrics: StepMetrics) -> dict[str, float]:
    """Name a step's values as trackers know them."""
    stage = metrics.stage
    return {f"{stage}/{name.replace('.', '/')}": float(value) for name, value in metrics.values.items()}


def flat(config: Mapping[str, Any], before: str = "") -> dict[str, str]:
    """Flatten a configuration to `section.key` -> text."""
    parts: dict[str, str] = {}
    for key, value in config.items():
        parts |= flat(value, f"{before}{key}.") if isinstance(value, Mapping) else {f"{before}{key}": str(value)}
    return parts
