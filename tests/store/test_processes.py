"""Many processes on one store, and processes that are killed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rlhf_core.store.store import Store
from tests.store.examples import comparison

ROOT = Path(__file__).parents[2]


def start(verb: str, folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.store.worker", verb, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(processes: list[subprocess.Popen[str]]) -> list[str]:
    outputs = []
    for process in processes:
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        outputs.append(output)
    return outputs


@pytest.mark.slow
def test_four_processes_make_one_store_and_one_run_and_lose_no_update(folder: Path):
    finish([start("events", folder) for _ in range(4)])
    store = Store.open(folder)
    (run,), _ = store.runs.page(10)
    events = store.events.of_run(run.id)
    assert [event.sequence for event in events] == list(range(1, 202))
    assert [json.loads(event.body)["after"] for event in events[1:]] == list(range(1, 201))
    assert store.integrity_check() == []
    store.close()


@pytest.mark.slow
def test_no_run_is_claimed_twice(folder: Path):
    store = Store.open(folder)
    runs = {store.runs.create("ppo", "{}", "k", str(number)).id for number in range(40)}
    claimed = "".join(finish([start("claim", folder) for _ in range(4)])).split()
    assert len(claimed) == 40 and set(claimed) == runs
    assert all(store.runs.get(run).attempt == 1 for run in runs)
    store.close()


@pytest.mark.slow
def test_no_acknowledged_label_is_lost_or_doubled_when_its_writer_is_killed(folder: Path):
    store = Store.open(folder)
    store.comparisons.add([comparison()])
    acknowledged: list[str] = []
    for _ in range(2):
        writers = [start("labels", folder) for _ in range(2)]
        for writer in writers:
            assert writer.stdout is not None
            acknowledged.append(writer.stdout.readline().strip())
        time.sleep(0.2)
        for writer in writers:
            writer.kill()
            assert writer.stdout is not None
            output = writer.stdout.read()  # `communicate` would lose what `readline` has read ahead
            writer.wait()
            # The last line may be cut off by the kill; it was acknowledged only if it is whole.
            acknowledged += output[: output.rfind("\n") + 1].split()
    stored = [label.id for label in store.preferences.find()]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored)
    assert len(acknowledged) > 20
    assert store.integrity_check() == []
    store.close()
