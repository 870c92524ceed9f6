"""Trackers as their own packages read them back: each is tried where it is installed, on this machine alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.config.tracking import TrackerName
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import StepMetrics
from services.telemetry import tracking
from services.telemetry.trackers import TrackedRun
from services.telemetry.tracking import Tracking

pytestmark = pytest.mark.slow

CONFIG = {"seed": 3, "ppo": {"steps": 2}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackedRun]:
    """A run whose trackers write below the test's folder; they may take their time to begin."""
    monkeypatch.setattr(tracking, "PATIENCE_SECONDS", 120.0)
    monkeypatch.chdir(tmp_path)
    yield TrackedRun("run-1", "first", "charter", CONFIG, tmp_path / "run-1")


def tell(run: TrackedRun, name: TrackerName, state: RunState, *steps: int) -> None:
    """What a run tells of its steps."""
    told = Tracking(run, [name])
    for number in steps:
        values = {"kl": number / 4, "score.helpful": -1.0}
        told.log(StepMetrics(stage="ppo", step=number, steps=9, values=values))
    told.close(state)
    assert told.troubles() == []


def test_mlflow_holds_every_step_and_a_run_that_goes_on_is_the_same_one(run, tmp_path, monkeypatch):
    tracking_client = pytest.importorskip("mlflow.tracking")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file://{tmp_path}/mlruns")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    tell(run, "mlflow", "PAUSED", 1, 2)
    tell(run, "mlflow", "SUCCEEDED", 3)
    client = tracking_client.MlflowClient()
    experiment = client.get_experiment_by_name("charter")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("first", "FINISHED")
    assert found.data.params["ppo.steps"] == "2" and found.data.tags["charter.run"] == "run-1"
    history = client.get_metric_history(found.info.run_id, "ppo/kl")
    assert [(one.step, one.value) for one in history] == [(1, 0.25), (2, 0.5), (3, 0.75)]
    assert len(client.get_metric_history(found.info.run_id, "ppo/score/helpful")) == 3


def test_trackio_holds_every_step_and_a_run_that_goes_on_is_the_same_one(run, tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    storage = pytest.importorskip("trackio.sqlite_storage")
    utils = pytest.importorskip("trackio.utils")
    for module in (storage, utils):
        monkeypatch.setattr(module, "TRACKIO_DIR", tmp_path / "trackio", raising=False)
    tell(run, "trackio", "PAUSED", 1, 2)
    tell(run, "trackio", "SUCCEEDED", 3)
    assert storage.SQLiteStorage.get_runs("charter") == ["run-1"]
    rows = storage.SQLiteStorage.get_logs("charter", "run-1")
    assert [(row["ppo/step"], row["ppo/kl"], row["ppo/score/helpful"]) for row in rows] == [
        (1, 0.25, -1),
        (2, 0.5, -1),
        (3, 0.75, -1),
    ]


def test_wandb_writes_every_step_to_this_machine_where_it_is_told_to_stay_offline(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    tell(run, "wandb", "SUCCEEDED", 1, 2)
    (written,) = tmp_path.glob("wandb/offline-run-*/run-run-1.wandb")
    content = written.read_bytes()
    for told in (b"ppo/kl", b"ppo/score/helpful", b"0.25", b"first", b"charter"):
        assert told in content


def test_wandb_without_a_key_is_left_alone_and_asks_nobody_for_one(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    for name in ("WANDB_MODE", "WANDB_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    told = Tracking(run, ["wandb"])
    told.log(StepMetrics(stage="ppo", step=1, steps=9, values={"kl": 0.0}))
    told.close("SUCCEEDED")
    (trouble,) = told.troubles()
    assert trouble.startswith("tracker wandb is left alone: ") and "WANDB_MODE=offline" in trouble
