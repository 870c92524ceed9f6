"""The worker goes on, whatever a run, the store or its own cleaning does; and a server that stops waits for nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.store.store import Store
from services.app import App
from services.server.config import ServeConfig
from services.worker import Worker


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
