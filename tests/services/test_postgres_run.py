"""A run whose store is in PostgreSQL: by one process, and by two with folders of their own, of which one is killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rlhf_core.errors import CharterError
from rlhf_core.records.runs import Run
from rlhf_core.store.databases.place import Place, connect_to, use
from services.client.client import CharterClient
from services.embedded import embedded_server
from tests.small_run import SMALL, Outcome, finished, outcome

if TYPE_CHECKING:
    from tests.store.postgres_server import Server

MAIN = "from services.cli.main import main; main()"
PATIENCE = 240.0


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """Of SQLite and one process."""
    return alone(tmp_path_factory.mktemp("sqlite"))


def alone(data: Path) -> Outcome:
    with embedded_server(data, SMALL.model) as address, CharterClient.connect(address) as client:
        run_id = finished(client)
    return outcome(data, run_id)


@contextlib.contextmanager
def serving(data: Path, place: Place) -> Iterator[tuple[subprocess.Popen[bytes], CharterClient]]:
    """A server of all services in a process of its own; killed at the end of the block."""
    data.mkdir()
    socket = data / "s"
    where = ["--data", str(data), "--store", place.database, "--artifacts", place.artifacts]
    command = [sys.executable, "-c", MAIN, "serve", "--socket", str(socket), *where, "-s", "model.threads=1"]
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        with CharterClient.connect(f"unix:{socket}") as client:
            answered(lambda: client.trainer.list_runs(), data)
            yield process, client
    finally:
        process.kill()
        process.wait()


def answered(ask, data: Path):
    """What a server answers, as soon as it does."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return ask()
        except CharterError:
            assert time.monotonic() < deadline, (data / "log").read_text()[-2000:]
            time.sleep(0.1)


def reached(client: CharterClient, run_id: str, stage: str) -> Run:
    deadline = time.monotonic() + PATIENCE
    while (run := client.trainer.get_run(run_id)).stage != stage and run.state in ("QUEUED", "RUNNING"):
        assert time.monotonic() < deadline, f"run stands still in stage '{run.stage}'"
        time.sleep(0.05)
    return run


def worker_of(run_id: str, place: Place) -> int:
    """The process that carries out a run."""
    with contextlib.closing(connect_to(place.database)) as connections:
        [row] = connections.rows("SELECT lease_owner FROM runs WHERE id = ?", [run_id])
    return int(row["lease_owner"].split(":")[1])


@pytest.mark.slow
def test_a_run_on_postgres_is_that_on_sqlite_to_the_digit(calm: Outcome, postgres: Server, tmp_path: Path):
    use(tmp_path / "data", Place(database=postgres.empty(), artifacts=f"memory://run/{tmp_path.name}"))
    assert alone(tmp_path / "data") == calm
    assert not (tmp_path / "data" / "charter.db").exists()


@pytest.mark.slow
def test_of_two_processes_one_is_killed_and_the_other_ends_its_run_as_a_calm_one(
    calm: Outcome, postgres: Server, tmp_path: Path
):
    place = Place(database=postgres.empty(), artifacts=f"file://{tmp_path}/shared")
    with (
        serving(tmp_path / "a", place) as (first, of_first),
        serving(tmp_path / "b", place) as (second, of_second),
    ):
        run_id = of_first.trainer.create_run(SMALL).id
        reached(of_first, run_id, "reward")
        killed = worker_of(run_id, place)
        assert killed in (first.pid, second.pid)
        os.kill(killed, signal.SIGKILL)
        of_other = of_second if killed == first.pid else of_first
        for _ in of_other.trainer.watch_run(run_id):
            pass
        run = of_other.trainer.get_run(run_id)
        assert (run.state, run.error, run.attempt) == ("SUCCEEDED", "", 2)
        assert of_other.trainer.get_report(run_id)
    assert outcome(tmp_path / "a", run_id) == calm == outcome(tmp_path / "b", run_id)


@pytest.mark.slow
def test_two_processes_carry_out_two_runs_at_the_same_time(calm: Outcome, postgres: Server, tmp_path: Path):
    place = Place(database=postgres.empty(), artifacts=f"file://{tmp_path}/shared")
    with serving(tmp_path / "a", place) as (first, client), serving(tmp_path / "b", place) as (second, _):
        runs = [client.trainer.create_run(SMALL).id for _ in range(2)]
        for run_id in runs:
            reached(client, run_id, "critique")
        assert {worker_of(run_id, place) for run_id in runs} == {first.pid, second.pid}
        for run_id in runs:
            for _ in client.trainer.watch_run(run_id):
                pass
            assert client.trainer.get_run(run_id).state == "SUCCEEDED"
    found = [outcome(tmp_path / "a", run_id) for run_id in runs]
    assert [one.weights for one in found] == [calm.weights] * 2
    assert [one.numbers for one in found] == [calm.numbers] * 2
