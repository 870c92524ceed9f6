"""Threads behind the event loop: one that owns the model, a few that wait for the store."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

LINGER_SECONDS = 0.005
"""How long a thread that has just served a caller waits for the next step of the same, before longer work goes on."""
PATIENCE_SECONDS = 0.1
"""How long a unit of longer work waits at most before it begins, however many call."""
SHARE = 3
"""Once it has begun, it gets at least one part in so many of the time."""

P = ParamSpec("P")
T = TypeVar("T")


class Unit(NamedTuple):
    """Work that waits for its turn."""

    work: Callable[[], Any]
    result: Future[Any]
    since: float

    def run(self) -> None:
        """Unless nobody waits for it any more."""
        if not self.result.set_running_or_notify_cancel():
            return
        try:
            self.result.set_result(self.work())
        except BaseException as error:
            self.result.set_exception(error)


class Executor:
    """Runs short units of work in the order in which they came; what stands `behind` it, when it has nothing to do.

    So calls, feedback and training take turns on one device, and those that somebody waits for come first.
    """

    def __init__(self, name: str, threads: int = 1):
        self._threads, self._rank = _Threads(name, threads), 0

    def behind(self) -> Executor:
        """The same threads, for longer work: it begins when this executor's is done, and gives way to it."""
        other = Executor.__new__(Executor)
        other._threads, other._rank = self._threads, self._rank + 1
        return other

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """From a coroutine. A unit whose caller is gone before it starts never runs."""
        return asyncio.wrap_future(self.submit(partial(work, *args, **kwargs)))

    def call(self, unit: Callable[[], T]) -> T:
        """From another thread, which waits."""
        return self.submit(unit).result()

    def submit(self, unit: Callable[[], T]) -> Future[T]:
        """From anywhere, without waiting."""
        return self._threads.submit(self._rank, unit)

    def give_way(self) -> None:
        """From a unit at work, where it can be interrupted: run what may go before it."""
        self._threads.give_way()

    def close(self) -> None:
        """Wait for the unit at work; those that have not begun never run."""
        self._threads.close()


class _Threads:
    """A few threads and, for each rank, a line of units that wait; rank 0 goes first."""

    def __init__(self, name: str, threads: int):
        self._lines: list[deque[Unit]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._own = threading.local()
        self._members = [
            threading.Thread(target=self._work, name=f"{name}_{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._members:
            thread.start()

    def submit(self, rank: int, work: Callable[[], T]) -> Future[T]:
        unit = Unit(work, Future(), time.monotonic())
        with self._changed:
            if self._closed:
                raise RuntimeError("the executor is closed")
            while len(self._lines) <= rank:
                self._lines.append(deque())
            self._lines[rank].append(unit)
            self._changed.notify()
        return unit.result

    def give_way(self) -> None:
        rank = getattr(self._own, "rank", 0)
        if not any(self._lines[:rank]):
            return
        now = time.monotonic()
        until = now + (SHARE - 1) * (now - self._own.since)
        while (left := until - time.monotonic()) > 0:
            with self._changed:
                found = self._first(rank) or (self._changed.wait(min(left, LINGER_SECONDS)) and self._first(rank))
            if not found:
                break
            self._run(*found)
        self._own.rank, self._own.since = rank, time.monotonic()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            waiting = [unit for line in self._lines for unit in line]
            self._lines.clear()
            self._changed.notify_all()
        for unit in waiting:
            unit.result.cancel()
        for thread in self._members:
            thread.join()

    def _work(self) -> None:
        served = 0.0
        while found := self._next(served):
            self._run(*found)
            served = time.monotonic() if found[0] == 0 else 0.0
            del found  # else what it returned would live until the next one comes

    def _run(self, rank: int, unit: Unit) -> None:
        self._own.rank, self._own.since = rank, time.monotonic()
        unit.run()

    def _next(self, served: float) -> tuple[int, Unit] | None:
        """The unit whose turn it is, waited for; None when the threads are to end."""
        with self._changed:
            while not self._closed:
                late = self._late()
                found = late or self._first(1)
                lingers = served + LINGER_SECONDS - time.monotonic() if len(self._lines) > 1 else 0.0
                if found is None and lingers <= 0:
                    found = self._first(len(self._lines))
                if found is not None:
                    return found
                self._changed.wait(lingers if lingers > 0 else None)
        return None

    def _first(self, ranks: int) -> tuple[int, Unit] | None:
        """The next unit of the first `ranks` lines."""
        return next(((rank, line.popleft()) for rank, line in enumerate(self._lines[:ranks]) if line), None)

    def _late(self) -> tuple[int, Unit] | None:
        """The unit that has waited longest behind others, if that is long enough."""
        limit = time.monotonic() - PATIENCE_SECONDS
        late = [(line[0].since, rank) for rank, line in enumerate(self._lines) if rank and line]
        since, rank = min(late, default=(limit, 0))
        return (rank, self._lines[rank].popleft()) if since < limit else None


class Patience:
    """Tells work on another thread that its caller has gone: `with Patience() as stop: await run(..., stop)`."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def __enter__(self) -> Callable[[], bool]:
        return self._gone.is_set

    def __exit__(self, *_: object) -> None:
        self._gone.set()
