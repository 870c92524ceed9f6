"""Charter's clients in asyncio programs: each call waits in a thread of its own, and the event loop goes on.

with charter.connect("localhost:50051") as client:
    samples = await charter.aio.call(client.policy.generate, prompts, n=4)
    async for piece in charter.aio.each(client.policy.generate_stream, prompt):
        print(piece.text)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def call(method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Await a method of a client; takes, returns and raises what that does.

    Who is cancelled stops waiting; the call itself ends with the client's `timeout_seconds`.
    """
    return await asyncio.to_thread(method, *args, **kwargs)


async def each(method: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
    """Iterate over what a method of a client yields, such as `generate_stream`; leaving the loop ends the call."""
    answers = await asyncio.to_thread(method, *args, **kwargs)
    try:
        while (answer := await asyncio.to_thread(next, answers, END)) is not END:
            yield answer  # pyright: ignore[reportReturnType]  # all but END are of the iterator
    finally:
        close = getattr(answers, "close", None)
        if close:
            await asyncio.shield(asyncio.to_thread(close))


END = object()
