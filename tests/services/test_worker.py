"""The worker goes on, whatever a run, the store or its own cleaning does; and a server that stops waits for nobody."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import Interrupted
from rlhf_core.records.runs import Run
from rlhf_core.store.databases.place import Place, connect
from rlhf_core.store.store import Store
from services import worker
from services.app import App
from services.server.config import ServeConfig
from services.worker import TOLD_IDLE_SECONDS, Worker
from tests.store import postgres_server
from tests.store.postgres_server import Server


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


def carry_out(store: Store, clean_up: Any, runs: int) -> list[str]:
    """The states of so many runs, whose pipeline does nothing, once none of them waits."""
    made = [store.runs.create("pipeline", "{}", "hash", f"r{number}").id for number in range(runs)]

    def nothing(*_: object) -> None:
        pass

    tools: Any = nothing
    worker = Worker(store, nothing, tools, clean_up, Path())
    worker.start()
    deadline = time.monotonic() + 10
    while any(store.runs.get(run).state in ("QUEUED", "RUNNING") for run in made) and time.monotonic() < deadline:
        time.sleep(0.02)
    worker.stop(10)
    return [store.runs.get(run).state for run in made]


def test_a_run_ends_although_its_memory_cannot_be_freed(store: Store, caplog: pytest.LogCaptureFixture):
    def broken() -> None:
        raise RuntimeError("no such adapter")

    assert carry_out(store, broken, runs=2) == ["SUCCEEDED", "SUCCEEDED"]
    assert caplog.text.count("what a run left in memory stays: RuntimeError") == 2


def test_a_mistake_of_ours_in_the_store_does_not_end_the_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    claim, failures = store.runs.claim, iter([ZeroDivisionError()])

    def sometimes(owner: str, lease_seconds: float):
        if (error := next(failures, None)) is not None:
            raise error
        return claim(owner, lease_seconds)

    monkeypatch.setattr(store.runs, "claim", sometimes)
    assert carry_out(store, lambda: None, runs=1) == ["SUCCEEDED"]
    assert "the worker goes on after a mistake of ours: ZeroDivisionError" in caplog.text


def test_a_worker_says_again_and_again_that_it_is_there(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(worker, "PRESENCE_SECONDS", 0.05)
    with closing(connect(tmp_path, "")) as connections, working(store, lambda *_: None):
        seen: set[str] = set()
        deadline = time.monotonic() + 10
        while len(seen) < 3 and time.monotonic() < deadline:
            seen |= {row["seen_at"] for row in connections.rows("SELECT seen_at FROM workers")}
            time.sleep(0.02)
    assert len(seen) == 3
    assert store.workers.signed_in() == []


def test_a_run_whose_transaction_was_taken_back_is_carried_out_again(store: Store):
    failures = iter([Interrupted("taken back", retry_seconds=0.01)])

    def sometimes(*_: object) -> None:
        if (error := next(failures, None)) is not None:
            raise error

    run = store.runs.create("pipeline", "{}", "hash", "r")
    with working(store, sometimes):
        assert ended(store, run.id) == "SUCCEEDED"
    told = [json.loads(event.body)["state"] for event in store.events.of_run(run.id)]
    assert told == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"]


def test_an_idle_worker_is_told_of_a_queued_run_and_stops_at_once(postgres: Server, tmp_path: Path):
    with (
        closing(Store.open(tmp_path, Place(database=postgres.empty()))) as store,
        working(store, lambda *_: None) as worker,
    ):
        time.sleep(1.0)
        begun = time.monotonic()
        run = store.runs.create("pipeline", "{}", "hash", "r")
        assert ended(store, run.id) == "SUCCEEDED"
        assert time.monotonic() - begun < TOLD_IDLE_SECONDS / 2
        time.sleep(0.2)
        begun = time.monotonic()
        worker.stop(10)
        assert time.monotonic() - begun < TOLD_IDLE_SECONDS / 2


@pytest.mark.slow
def test_a_run_outlives_its_database(tmp_path: Path):
    """Each step is one commit; the server is killed in the midst of them, and comes back."""
    if reason := postgres_server.why_not():
        pytest.skip(reason)
    with ExitStack() as stack:
        server = stack.enter_context(postgres_server.server("fsync=off"))
        store = stack.enter_context(closing(Store.open(tmp_path, Place(database=server.url("postgres")))))

        def steps(run: Run, *_: object) -> None:
            done = sum(event.kind == "note" for event in store.events.of_run(run.id))
            for number in range(done, 30):
                with store.transaction(run.id, run.fence):
                    store.events.append(run.id, "note", str(number))
                time.sleep(0.05)

        run = store.runs.create("pipeline", "{}", "hash", "r")
        with working(store, steps):
            for _ in range(2):
                time.sleep(0.4)
                server.kill()
                server.start()
            assert ended(store, run.id) == "SUCCEEDED"
        notes = [event.body for event in store.events.of_run(run.id) if event.kind == "note"]
        assert notes == [str(number) for number in range(30)]


@contextmanager
def working(store: Store, pipeline: Any) -> Iterator[Worker]:
    nothing: Any = None
    worker = Worker(store, pipeline, lambda *_: nothing, lambda: None, Path())
    worker.start()
    try:
        yield worker
    finally:
        worker.stop(10)


def ended(store: Store, run_id: str) -> str:
    """The state in which a run ends."""
    deadline = time.monotonic() + 60
    while (state := store.runs.get(run_id).state) in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
        time.sleep(0.02)
    return state


def test_a_server_stops_its_worker_although_callers_hold_all_of_asyncios_threads(tmp_path: Path, model_config):
    """Streams of revisions and of comparisons wait on these threads."""
    held = threading.Event()

    async def scenario() -> None:
        app = App(ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path / "d", model=model_config))
        await app.start()
        loop = asyncio.get_running_loop()
        waiting = [loop.run_in_executor(None, held.wait, 60) for _ in range(64)]
        try:
            await asyncio.wait_for(app.stop(), 20)
        finally:
            held.set()
            await asyncio.gather(*waiting)

    asyncio.run(scenario())
