"""A server of this process, as `charter serve` would start it, while a test looks on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

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
