"""The store in PostgreSQL (ours) against SQLite's (baseline), in turns; both wait for the disk where it says durable.

The server is one of the benchmark's own, with Debian's settings, on a socket of this machine: a network adds its own
time to each step. Nothing is reported where no server is installed.
"""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.store.databases.place import Place
from rlhf_core.store.store import Store
from services.worker import Worker
from tests.benchmarks.rows import Row, report, row
from tests.store import postgres_server

ROUNDS = 5
BATCH, BATCHES = 64, 20
CLAIMS, WRITES, WRITERS, WAITS = 60, 60, 4, 8
PROMPTS = [Prompt.of(f"How do I descale kettle {number}?") for number in range(BATCH)]


def samples(store: Store, name: str) -> float:
    """Samples stored a second, 64 in a transaction."""
    begun = time.perf_counter()
    for batch in range(BATCHES):
        with store.transaction():
            store.samples.add(_sample(f"{name}-{batch}", prompt, name) for prompt in PROMPTS)
    return BATCH * BATCHES / (time.perf_counter() - begun)


def _sample(name: str, prompt: Prompt, run_id: str) -> Sample:
    identity = f"{name}-{prompt.id}"
    return Sample(id=identity, prompt=prompt, response="r" * 300, run_id=run_id, stage="ppo", policy_version="base")


def reads(store: Store, name: str) -> float:
    """Samples of a run read a second."""
    begun = time.perf_counter()
    found = store.samples.of_run(name)
    return len(found) / (time.perf_counter() - begun)


def claims(store: Store, name: str) -> float:
    """Median milliseconds of a claim, durable."""
    for number in range(CLAIMS):
        store.runs.create("ppo", "{}", "k", f"{name}-{number}")
    taken = []
    for _ in range(CLAIMS):
        begun = time.perf_counter()
        run = store.runs.claim("elsewhere:1:1", 60.0)
        taken.append(1000 * (time.perf_counter() - begun))
        assert run is not None
        store.runs.release(run.id, run.fence, "SUCCEEDED")
    return statistics.median(taken)


def durable_writes(writers: int) -> Callable[[Store, str], float]:
    """Durable transactions a second by so many threads, each on a run of its own."""

    def measured(store: Store, name: str) -> float:
        runs = [store.runs.create("ppo", "{}", "k", f"{name}-w{number}").id for number in range(writers)]

        def write(run_id: str) -> None:
            for number in range(WRITES):
                store.runs.update(run_id, {"note": str(number)})

        begun = time.perf_counter()
        with ThreadPoolExecutor(writers) as pool:
            list(pool.map(write, runs))
        elapsed = time.perf_counter() - begun
        for run_id in runs:
            store.runs.cancel(run_id)
        return writers * WRITES / elapsed

    return measured


def _no_tools(*_: object) -> Any:
    """The pipeline that waits for nothing needs none."""


def waits(store: Store, name: str) -> float:
    """Median milliseconds until an idle worker has begun a run that was queued."""
    begun = threading.Event()
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(store, lambda *_: begun.set(), _no_tools, lambda: None, Path(folder))
        worker.start()
        taken = []
        for number in range(WAITS):
            time.sleep(0.7 + 0.06 * number)  # at another point of the polling interval each time
            begun.clear()
            queued = time.perf_counter()
            store.runs.create("ppo", "{}", "k", f"{name}-wait{number}")
            assert begun.wait(30)
            taken.append(1000 * (time.perf_counter() - queued))
        worker.stop(30)
    return statistics.median(taken)


MEASURED: tuple[tuple[str, Callable[[Store, str], float], str, int], ...] = (
    ("samples stored a second, 64 in a transaction", samples, "rows/s", ROUNDS),
    ("samples read a second", reads, "rows/s", ROUNDS),
    ("claim of a run, durable, median", claims, "ms", ROUNDS),
    ("durable writes a second, one thread", durable_writes(1), "commits/s", ROUNDS),
    ("durable writes a second, four threads", durable_writes(WRITERS), "commits/s", ROUNDS),
    ("queued run until an idle worker begins it, median", waits, "ms", 1),
)


def measure() -> Iterator[Row]:
    if reason := postgres_server.why_not():
        print(f"store: skipped: {reason}")
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(postgres_server.server())
        places = {"sqlite": Place(), "postgres": Place(database=server.empty())}
        stores = {
            name: stack.enter_context(closing(Store.open(folder / name, place))) for name, place in places.items()
        }
        for title, how, unit, rounds in MEASURED:
            found: dict[str, list[float]] = {name: [] for name in stores}
            for number in range(rounds):
                for name in sorted(stores, reverse=number % 2 == 1):
                    found[name].append(how(stores[name], f"round-{number}"))
            ours, baseline = (statistics.median(found[name]) for name in ("postgres", "sqlite"))
            yield row(title, ours, baseline, unit)


if __name__ == "__main__":
    report(measure)
