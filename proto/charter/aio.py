"""Charter's clients in asyncio programs: each call waits in a thread of its own, and the event loop goes on.

with charter.connect("localhost:50051") as client:
    samples = await charter.aio.call(client.policy.generate, prompts, n=4)
    async for piece in charter.aio.each(client.policy.generate_stream, prompt):
        print(piece.text)

At most 256 calls wait at a time, others behind them. Who needs thousands at once, or a call that ends with its task,
calls the stubs of `charter.v1` by `grpc.aio`.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

# Not asyncio's own threads, which are few on a small machine, and wait for others too.
_THREADS = ThreadPoolExecutor(256, "charter")


async def call(method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await a method of a client; takes, returns and raises what that does.

    Who is cancelled stops waiting; the call itself ends with the client's `timeout_seconds`.
    """
    work: Callable[[], Any] = partial(contextvars.copy_context().run, method, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_THREADS, work)


async def each(method: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
    """Iterate over what a method of a client yields, such as `generate_stream`; leaving the loop ends the call."""
    answers = await call(method, *args, **kwargs)
    try:
        while following := await call(_following, answers):
            yield following[0]
    finally:
        close = getattr(answers, "close", None)
        if close:
            await asyncio.shield(call(close))


def _following(answers: Iterator[T]) -> tuple[T] | None:
    """Return the next answer, alone in a tuple; None at the end, as no future takes a StopIteration."""
    for answer in answers:
        return (answer,)
    return None
