"""What a thread tells while it works, for the coroutine that answers a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar

from rlhf_core.errors import Unavailable

T = TypeVar("T")


class Updates(Generic[T]):
    """Made by the coroutine; `tell` belongs to the thread."""

    def __init__(self, gone: Callable[[], bool]):
        """`gone` says whether nobody listens any more."""
        self._gone = gone
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[T | None] = asyncio.Queue()

    def tell(self, update: T) -> None:
        """Tell the listener. Raises Unavailable when nobody listens any more, so that the work ends."""
        stop_if(self._gone)
        self._loop.call_soon_threadsafe(self._queue.put_nowait, update)

    async def until(self, work: asyncio.Future[Any]) -> AsyncIterator[T]:
        """Yield all that is told until the work ends."""
        # Also takes note of how it ended, which nobody else does when the caller goes first.
        work.add_done_callback(lambda done: (done.cancelled() or done.exception(), self._queue.put_nowait(None)))
        while (update := await self._queue.get()) is not None:
            yield update


def stop_if(gone: Callable[[], bool]) -> None:
    if gone():
        raise Unavailable("given up: the caller is gone")
