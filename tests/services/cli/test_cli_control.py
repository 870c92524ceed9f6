"""`charter pause`, `resume`, `cancel` and `watch` on runs of a server, and of a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rlhf_core.errors import Conflict, NotFound
from rlhf_core.records.runs import Run
from services.cli.main import app
from services.cli.runs.control import standing
from tests.services.run_server import run_server


def charter(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def test_a_run_of_a_server_is_paused_resumed_and_cancelled(tmp_path: Path):
    with run_server(tmp_path) as server:
        [run_id] = server.create()
        at = ("--address", server.client.address)
        paused = charter("pause", run_id, *at)
        assert paused.stdout == f"run {run_id}: paused; to go on: charter resume {run_id} --address {at[1]}\n"
        watched = charter("watch", "last", *at)
        assert isinstance(watched.exception, Conflict) and f"charter resume {run_id}" in str(watched.exception)
        assert watched.stdout.splitlines()[-1] == f"run {run_id}: paused"
        assert charter("resume", "last", *at).stdout.startswith(f"run {run_id}: queued; to look on: charter watch")
        cancelled = json.loads(charter("cancel", run_id, *at, "--json").stdout)["run"]
        assert (cancelled["id"], cancelled["state"]) == (run_id, "CANCELLED")
        assert isinstance(charter("resume", run_id, *at).exception, Conflict)
        assert isinstance(charter("pause", "run-99", *at).exception, NotFound)


def test_a_run_that_waits_in_a_folder_is_cancelled_without_a_server(tmp_path: Path):
    with run_server(tmp_path) as server:
        [run_id] = server.create()
    assert (
        charter("cancel", "last", "--data", str(tmp_path)).stdout == f"run {run_id}: cancelled; what it stored stays\n"
    )
    assert isinstance(charter("cancel", "last", "--data", str(tmp_path / "none")).exception, NotFound)


@pytest.mark.parametrize(
    ("state", "requested", "told"),
    [
        ("RUNNING", "CANCELLED", "cancelling: ends for good when the step at work is done; what it stored stays"),
        ("RUNNING", "PAUSED", "pausing: stops when the step at work is done; to go on then: charter resume r"),
        ("RUNNING", "", "running; to look on: charter watch r"),
        ("SUCCEEDED", "", "succeeded"),
    ],
)
def test_what_was_asked_of_a_run_at_work_is_told(state, requested, told):
    assert standing(Run(id="r", kind="pipeline", state=state, config="{}", requested=requested)) == f"run r: {told}"
