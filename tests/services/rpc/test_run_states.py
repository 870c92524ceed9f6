"""Runs through the services: stopped, resumed, killed, and watched all the while."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import Conflict
from rlhf_core.records.runs import Run, RunEvent
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.services.conftest import SLOW_SEED, few_steps

SLOW = RunConfig(constitution="household", seed=SLOW_SEED)


def steps_of(events: list[RunEvent]) -> list[int]:
    return [json.loads(event.body)["step"] for event in events if event.kind == "metrics"]


def wait_for(client: CharterClient, run_id: str, *states: str) -> Run:
    deadline = time.monotonic() + 20
    while (run := client.trainer.get_run(run_id)).state not in states:
        assert time.monotonic() < deadline, f"run is {run.state}, not {states}"
        time.sleep(0.05)
    return run


def after_some_steps(client: CharterClient, run_id: str) -> int:
    """Waits until the run has done two steps; the sequence of the second."""
    for event in client.trainer.watch_run(run_id):
        if event.kind == "metrics" and json.loads(event.body)["step"] >= 2:
            return event.sequence
    raise AssertionError("the run ended before its second step")


def test_a_run_pauses_and_goes_on_where_it_was(served):
    client = served.client
    run = client.trainer.create_run(SLOW)
    after_some_steps(client, run.id)
    client.trainer.pause_run(run.id)
    assert wait_for(client, run.id, "PAUSED").step < 8
    client.trainer.resume_run(run.id)
    assert wait_for(client, run.id, "SUCCEEDED").attempt == 2
    assert steps_of(list(client.trainer.watch_run(run.id))) == list(range(1, 9))


def test_a_cancelled_run_stops_and_stays_so(served):
    client = served.client
    run = client.trainer.create_run(SLOW)
    after_some_steps(client, run.id)
    client.trainer.cancel_run(run.id)
    assert wait_for(client, run.id, "CANCELLED").step < 8
    assert client.trainer.cancel_run(run.id).state == "CANCELLED"
    with pytest.raises(Conflict):
        client.trainer.resume_run(run.id)


def test_a_mistake_of_ours_fails_the_run_with_one_line(served):
    run = served.client.trainer.create_run(RunConfig(constitution="household", seed=13))
    failed = wait_for(served.client, run.id, "FAILED")
    assert "internal error" in failed.error and "\n" not in failed.error
    later = served.client.trainer.create_run(RunConfig(constitution="household", seed=14))
    wait_for(served.client, later.id, "SUCCEEDED")


def test_a_server_that_stops_leaves_its_run_to_the_next_and_the_watcher_goes_on(short_folder, model_config, trained):
    trained(short_folder)
    seen: list[RunEvent] = []
    with embedded_server(short_folder, model_config, pipeline=few_steps) as address:
        client = CharterClient.connect(address)
        run = client.trainer.create_run(SLOW)
        watcher = threading.Thread(target=lambda: seen.extend(client.trainer.watch_run(run.id)))
        watcher.start()
        after_some_steps(client, run.id)
    with embedded_server(short_folder, model_config, pipeline=few_steps) as again, client:
        assert again == address
        ended = wait_for(client, run.id, "SUCCEEDED")
        watcher.join(timeout=20)
        assert not watcher.is_alive()
    assert ended.attempt == 2
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert steps_of(seen) == list(range(1, 9))


KILLED = """
import sys
from pathlib import Path
from rlhf_core.config.run import ModelConfig
from services.embedded import embedded_server
from tests.services.conftest import few_steps
with embedded_server(Path(sys.argv[1]), ModelConfig.model_validate_json(sys.argv[2]), pipeline=few_steps) as address:
    print(address, flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_kill_9_loses_no_event_and_the_next_server_finishes_the_run(tmp_path, model_config, trained):
    trained(tmp_path)
    command = [sys.executable, "-c", KILLED, str(tmp_path), model_config.model_dump_json()]
    root = Path(__file__).parents[3]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with CharterClient.connect(address) as client:
            run = client.trainer.create_run(SLOW, request_id="once")
            sequence = after_some_steps(client, run.id)
            seen = client.trainer.get_run(run.id)
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    assert seen.state == "RUNNING"
    with (
        embedded_server(tmp_path, model_config, pipeline=few_steps) as address,
        CharterClient.connect(address) as client,
    ):
        assert client.trainer.create_run(SLOW, request_id="once").id == run.id
        events = list(client.trainer.watch_run(run.id, after_sequence=sequence))
        ended = client.trainer.get_run(run.id)
    assert (ended.state, ended.attempt) == ("SUCCEEDED", 2)
    assert events[0].sequence == sequence + 1
    assert steps_of(events) == list(range(3, 9))
