"""Threads behind the event loop: one that owns the model, a few that wait for the store."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, ParamSpec, TypeVar

from rlhf_core.errors import Unavailable

LINGER_SECONDS = 0.005
"""How long a thread that has just served a caller waits for the next step of the same, before longer work goes on."""
PATIENCE_SECONDS = 0.1
"""How long a unit of longer work waits at most before it begins, however many call."""
SHARE = 3
"""Once it has begun, it gets at least one part in so many of the time."""
REST_SECONDS = 1.0
"""How long a thread has nothing to do before it rests."""

GOING_DOWN = "the server is going down"

P = ParamSpec("P")
T = TypeVar("T")


class Unit(NamedTuple):
    """Work that waits for its turn: it tells what it found by itself, and `failed` tells what went wrong."""

    work: Callable[[], object]
    failed: Callable[[BaseException], object]
    since: float

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.failed(error)


class Executor:
    """Run short units of work in their order; the work of an executor `behind` this one runs when none is left.

    So calls, feedback and training take turns on one device, and those that somebody waits for come first.
    Whoever waits when it closes, or asks later, gets Unavailable.
    """

    def __init__(self, name: str, threads: int = 1, at_rest: Callable[[], object] | None = None):
        """`at_rest` is done on each thread that has had nothing to do for a second after it worked."""
        self._threads, self._rank = _Threads(name, threads, at_rest), 0

    def behind(self) -> Executor:
        """Return the same threads, for longer work: it begins when this executor's is done, and gives way to it."""
        other = Executor.__new__(Executor)
        other._threads, other._rank = self._threads, self._rank + 1
        return other

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """Run a unit from a coroutine. One whose caller is gone before it starts never runs."""
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def unit() -> None:
            if not answer.done():
                settle(answer, work(*args, **kwargs))

        self.post(unit, partial(settle_error, answer))
        return answer

    def call(self, unit: Callable[[], T]) -> T:
        """Run a unit from another thread, which waits."""
        return self.submit(unit).result()

    def submit(self, unit: Callable[[], T]) -> Future[T]:
        """Hand in a unit from anywhere, without waiting."""
        answer: Future[T] = Future()

        def work() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(unit())

        def failed(error: BaseException) -> None:
            if not answer.cancelled():
                answer.set_exception(error)

        self.post(work, failed)
        return answer

    def post(self, work: Callable[[], object], failed: Callable[[BaseException], object]) -> None:
        """Hand in work from anywhere.

        `failed` is told, on another thread, what the work raises or that it will not be done.
        """
        self._threads.post(self._rank, work, failed)

    def give_way(self) -> None:
        """Run what may go before a unit at work, from that unit, where it can be interrupted."""
        self._threads.give_way()

    def close(self) -> None:
        """Wait for the unit at work; those that have not begun never run."""
        self._threads.close()


class _Threads:
    """A few threads and, for each rank, a line of units that wait; rank 0 goes first."""

    def __init__(self, name: str, threads: int, at_rest: Callable[[], object] | None):
        self._at_rest = at_rest
        self._lines: list[deque[Unit]] = []
        self._changed = threading.Condition()
        self._closed = False
        self._own = threading.local()
        self._members = [
            threading.Thread(target=self._work, name=f"{name}_{index}", daemon=True) for index in range(threads)
        ]
        for thread in self._members:
            thread.start()

    def post(self, rank: int, work: Callable[[], object], failed: Callable[[BaseException], object]) -> None:
        unit = Unit(work, failed, time.monotonic())
        with self._changed:
            if self._closed:
                raise Unavailable(GOING_DOWN)
            while len(self._lines) <= rank:
                self._lines.append(deque())
            self._lines[rank].append(unit)
            self._changed.notify()

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
            unit.failed(Unavailable(GOING_DOWN))
        for thread in self._members:
            thread.join()

    def _work(self) -> None:
        served, rest_at = 0.0, math.inf
        while found := self._next(served, rest_at):
            self._run(*found)
            now, rested = time.monotonic(), found[1].work is self._at_rest
            served = now if found[0] == 0 else 0.0
            rest_at = math.inf if rested or self._at_rest is None else now + REST_SECONDS
            del found  # else what it holds would live until the next one comes

    def _run(self, rank: int, unit: Unit) -> None:
        self._own.rank, self._own.since = rank, time.monotonic()
        unit.run()

    def _next(self, served: float, rest_at: float) -> tuple[int, Unit] | None:
        """The unit whose turn it is, waited for, or rest at its time; None when the threads are to end."""
        with self._changed:
            while not self._closed:
                late = self._late()
                found = late or self._first(1)
                lingers = served + LINGER_SECONDS - time.monotonic() if len(self._lines) > 1 else 0.0
                if found is None and lingers <= 0:
                    found = self._first(len(self._lines))
                if found is not None:
                    return found
                now = time.monotonic()
                if now >= rest_at and self._at_rest is not None:
                    return 0, Unit(self._at_rest, _ignored, now)
                until = min(rest_at, now + lingers if lingers > 0 else math.inf)
                self._changed.wait(until - now if until < math.inf else None)
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


def _ignored(error: BaseException) -> None:
    """What fails at rest is nobody's call."""


def settle(answer: asyncio.Future[T], result: T) -> None:
    """Settle, from a thread, what a coroutine waits for, if it still does."""
    _tell(answer, answer.set_result, result)


def settle_error(answer: asyncio.Future[Any], error: BaseException) -> None:
    """Settle, from a thread, what a coroutine waits for with an error."""
    _tell(answer, answer.set_exception, as_error(error))


def as_error(error: BaseException) -> Exception:
    """Return an error that a future of the event loop can hold, and that ends a call alone."""
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    return RuntimeError(repr(error))


def _tell(answer: asyncio.Future[T], how: Callable[[Any], None], what: object) -> None:
    def on_loop() -> None:
        if not answer.done():
            how(what)

    with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        answer.get_loop().call_soon_threadsafe(on_loop)


class Patience:
    """Tells work on another thread that its caller has gone: `with Patience() as stop: await run(..., stop)`."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def __enter__(self) -> Callable[[], bool]:
        return self._gone.is_set

    def __exit__(self, *_: object) -> None:
        self._gone.set()
