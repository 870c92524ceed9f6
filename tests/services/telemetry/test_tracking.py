"""A run's metrics in trackers; whatever these do, the run goes on."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from rlhf_core.config.run import RunConfig
from rlhf_core.records.runs import StepMetrics
from rlhf_core.store.store import Store
from services.telemetry import tracking
from services.telemetry.trackers import TRACKERS, TrackedRun, Tracker
from services.telemetry.tracking import Tracking
from services.worker import Worker


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def run(tmp_path: Path) -> TrackedRun:
    return TrackedRun("run-1", "first", "charter", {"seed": 0, "ppo": {"steps": 2}}, tmp_path / "run-1")


def step(number: int, **values: float) -> StepMetrics:
    return StepMetrics(stage="ppo", step=number, steps=9, values=values)


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    found = {}
    for name in events.Tags()["tensors"]:
        found[name] = [(event.step, event.tensor_proto.float_val[0]) for event in events.Tensors(name)]
    return found


def test_tensorboard_shows_every_step_of_every_value_under_its_stage(run: TrackedRun):
    told = Tracking(run, ["tensorboard"])
    told.log(step(1, kl=0.5, **{"score.helpful": -1.0}))
    told.log(step(2, kl=0.75))
    told.close("SUCCEEDED")
    assert told.troubles() == []
    assert scalars(run.folder / "tensorboard") == {"ppo/kl": [(1, 0.5), (2, 0.75)], "ppo/score/helpful": [(1, -1.0)]}


def test_a_tracker_that_fails_is_told_of_once_and_the_others_go_on(run: TrackedRun, monkeypatch: pytest.MonkeyPatch):
    def refuses(metrics: StepMetrics) -> None:
        raise ConnectionError("no route to the tracker\nand more")

    monkeypatch.setitem(TRACKERS, "wandb", lambda run: Tracker(refuses, lambda state: None))
    told = Tracking(run, ["wandb", "tensorboard"])
    for number in range(1, 4):
        told.log(step(number, kl=0.0))
    told.close("SUCCEEDED")
    assert told.troubles() == ["tracker wandb is left alone: ConnectionError: no route to the tracker"]
    assert len(scalars(run.folder / "tensorboard")["ppo/kl"]) == 3


def test_a_package_that_is_missing_is_named(run: TrackedRun, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    told = Tracking(run, ["trackio"])
    told.close("SUCCEEDED")
    assert told.troubles() == ["tracker trackio is left alone: ModuleNotFoundError: pip install trackio"]


def test_a_tracker_that_hangs_holds_up_neither_a_step_nor_the_end(run: TrackedRun, monkeypatch: pytest.MonkeyPatch):
    held = threading.Event()
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(tracking, "WAITING", 2)
    monkeypatch.setitem(TRACKERS, "mlflow", lambda run: Tracker(lambda metrics: bool(held.wait(30)) and None, print))
    told, started = Tracking(run, ["mlflow"]), time.monotonic()
    for number in range(1, 6):
        told.log(step(number, kl=0.0))
    told.close("SUCCEEDED")
    assert time.monotonic() - started < 5
    assert any("steps were not passed on" in trouble for trouble in told.troubles())
    held.set()


def test_a_worker_tells_the_trackers_that_a_run_names_and_notes_what_became_of_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    config = RunConfig.model_validate({"tracking": {"to": "tensorboard,wandb"}})
    made = store.runs.create("pipeline", config.model_dump_json(), "hash", "")

    def pipeline(run: Any, store: Any, tools: Any, report: Any, should_stop: Any) -> None:
        for number in (1, 2):
            report("metrics", step(number, kl=number / 4).model_dump_json())

    def equip(*_: Any) -> Any:
        return None

    worker = Worker(store, pipeline, equip, lambda: None, tmp_path / "runs")
    worker.start()
    deadline = time.monotonic() + 10
    while store.runs.get(made.id).state in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.stop(10)
    assert store.runs.get(made.id).state == "SUCCEEDED"
    assert scalars(tmp_path / "runs" / made.id / "tensorboard") == {"ppo/kl": [(1, 0.25), (2, 0.5)]}
    notes = [json.loads(event.body)["text"] for event in store.events.of_run(made.id) if event.kind == "note"]
    assert notes == ["tracker wandb is left alone: ModuleNotFoundError: pip install wandb"]


def test_a_tracker_that_is_none_is_refused_by_name():
    with pytest.raises(ValueError, match="'tensorboard', 'wandb', 'mlflow' or 'trackio'"):
        RunConfig.model_validate({"tracking": {"to": ["tensorbord"]}})
