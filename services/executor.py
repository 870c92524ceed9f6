"""Threads behind the event loop: one that owns the model, a few that wait for the store."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Executor:
    """Runs short units of work in the order in which they came, so that requests and training take turns."""

    def __init__(self, name: str, threads: int = 1):
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=name)

    def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Awaitable[T]:
        """From a coroutine. A unit whose caller is gone before it starts never runs."""
        return asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    def call(self, unit: Callable[[], T]) -> T:
        """From another thread, which waits."""
        return self._pool.submit(unit).result()

    def close(self) -> None:
        """Wait for the unit at work; those that have not begun never run."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class Patience:
    """Tells work on another thread that its caller has gone: `with Patience() as stop: await run(..., stop)`."""

    def __init__(self) -> None:
        self._gone = threading.Event()

    def __enter__(self) -> Callable[[], bool]:
        return self._gone.is_set

    def __exit__(self, *_: object) -> None:
        self._gone.set()
