"""A server of this process, as `charter serve` would start it, while a test looks on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from services.app import App
from services.server.config import ServeConfig
from services.worker import Pipeline


def serving(
    config: ServeConfig, meanwhile: Callable[[str], object] = lambda address: None, pipeline: Pipeline | None = None
) -> None:
    """Start a server, do something with its address beside its loop, stop it. Raises what any of the three raises."""

    async def scenario() -> None:
        app = App(config, pipeline)
        await app.start()
        try:
            await asyncio.to_thread(meanwhile, app.address)
        finally:
            await app.stop()

    asyncio.run(scenario())


@contextmanager
def started(config: ServeConfig, pipeline: Pipeline | None = None) -> Iterator[App]:
    """The same for as long as the block lasts, on a loop of its own."""
    app, loop = App(config, pipeline), asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="served", daemon=True)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(app.start(), loop).result()
        try:
            yield app
        finally:
            asyncio.run_coroutine_threadsafe(app.stop(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
