"""`charter serve` as a process, and `charter call` and `run --detach` against it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process

ROOT = Path(__file__).parents[3]
MAIN = "from signal import *; signal(SIGINT, default_int_handler); from services.cli.main import main; main()"


def environment() -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHARTER")}
    return inherited | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto'}"}


def charter(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", MAIN, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server without a model on a free port, drained by Ctrl-C at the end; this process poses as its worker."""
    data = tmp_path_factory.mktemp("served")
    store = Store.open(data)
    store.workers.sign_in(this_process())
    store.close()
    command = [sys.executable, "-c", MAIN, "serve", "--port", "0", "--only", "preference,trainer", "--data", str(data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        yield process.stdout.readline().split(";")[0].removeprefix("serving on ")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture
def call(address: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda *arguments: charter("call", *arguments, "--address", address)


def test_call_lists_services_and_methods(call: Callable[..., subprocess.CompletedProcess[str]]):
    lines = call().stdout.splitlines()
    assert "charter.v1.TrainerService/WatchRun  (WatchRunRequest) -> stream WatchRunResponse" in lines
    assert all(line.startswith("charter.v1.") for line in lines)
    only = call("charter.v1.PreferenceService").stdout.splitlines()
    assert only and all(line.startswith("charter.v1.PreferenceService/") for line in only)


@pytest.mark.slow
def test_a_run_is_queued_watched_as_a_stream_and_cancelled_by_json(
    address: str, call: Callable[..., subprocess.CompletedProcess[str]]
):
    made = charter("run", "--detach", "--weights", "harmless=1", "--address", address)
    assert made.returncode == 0, made.stderr
    run = made.stdout.strip()
    body = json.dumps({"runId": run})
    cancelled = call("charter.v1.TrainerService/CancelRun", "-d", body)
    assert json.loads(cancelled.stdout)["run"]["state"] == "RUN_STATE_CANCELLED"
    stream = [json.loads(line) for line in call("charter.v1.TrainerService/WatchRun", "-d", body).stdout.splitlines()]
    assert [json.loads(one["event"]["bodyJson"])["state"] for one in stream[:-1]] == ["QUEUED", "CANCELLED"]
    assert stream[-1]["run"]["state"] == "RUN_STATE_CANCELLED" and "event" not in stream[-1]
    watched = charter("watch", run, "--address", address)
    assert (watched.returncode, watched.stderr) == (5, f"error: run {run} cancelled\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["charter.v1.TrainerServic/GetRun"], "no service 'charter.v1.TrainerServic', did you mean"),
        (["charter.v1.TrainerService/GetRuns"], "no method 'GetRuns', did you mean 'GetRun'?"),
        (["charter.v1.TrainerService/GetRun", "-d", '{"run'], "Failed to load JSON"),
        (["charter.v1.TrainerService/GetRun", "-d", '{"title": "x"}'], "known: runId, name, readMask"),
        (["charter.v1.TrainerService/GetRun", "-d", '{"runId": "x"}'], "no run 'x'"),
        (["charter.v1.TrainerService/CreateRun", "-d", '{"configJson": "{\\"sed\\": 3}"}'], "sed"),
    ],
)
def test_a_wrong_call_is_one_line(
    call: Callable[..., subprocess.CompletedProcess[str]], arguments: list[str], reason: str
):
    result = call(*arguments)
    assert result.returncode == 2, result.stderr
    assert reason in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_port_in_use_is_refused(address: str, tmp_path: Path):
    port = address.rpartition(":")[2]
    result = charter("serve", "--port", port, "--only", "trainer", "--data", str(tmp_path / "data"))
    assert result.returncode == 2, result.stderr
    assert port in result.stderr
    assert result.stderr.count("error: ") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0"),
        (["--only", "policy,trainr"], "unknown service 'trainr', did you mean 'trainer'?"),
        (["-s", "model.base_model=/nowhere/llama"], "no folder '/nowhere/llama'"),
        (["-s", "model.thread=3"], "did you mean 'threads'?"),
    ],
)
def test_a_server_that_cannot_be_is_refused(tmp_path: Path, arguments: list[str], reason: str):
    result = charter("serve", *arguments, "--data", str(tmp_path / "data"))
    assert result.returncode == 2, result.stderr
    assert reason in result.stderr
    assert not (tmp_path / "data").exists()
