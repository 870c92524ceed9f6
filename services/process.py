"""A server process from its start to its end: logs, traces, the metrics page, and signals."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from collections.abc import Callable
from contextlib import ExitStack
from typing import NamedTuple

from rlhf_core.errors import InvalidInput
from services.app import App
from services.server.config import ServeConfig
from services.server.server import is_local
from services.telemetry import logs, metrics
from services.telemetry.tracing import tracing

FORCED = 130
"""Exit code of a process that was told to stop twice."""


class Addresses(NamedTuple):
    """Where a process is reached: by gRPC, and at the HTTP edge and the console where it has them."""

    grpc: str
    http: str
    console: str


OnReady = Callable[[Addresses], None]
"""Called once calls are answered."""


def serve(config: ServeConfig, on_ready: OnReady) -> None:
    """Serve until SIGTERM or SIGINT, then drain."""
    logs.set_up(config.log_format, config.log_level)
    with ExitStack() as stack:
        if config.traces:
            stack.enter_context(tracing())
        asyncio.run(_serve(config, on_ready))


def check_page(address: str, insecure: bool) -> None:
    """Refuse, by an InvalidInput, a page that other machines could read: it has neither encryption nor tokens."""
    if not (insecure or is_local(address)):
        raise InvalidInput(
            f"metrics: {address} can be reached from other machines, and the page asks for no token",
            "metrics",
            hint="use 127.0.0.1 and let an agent or a proxy of this machine pass it on; or --insecure",
        )


async def _serve(config: ServeConfig, on_ready: OnReady) -> None:
    stop = asyncio.Event()

    def asked_to_stop() -> None:
        if stop.is_set():
            # The store holds all that was acknowledged, and the lease of a process that is gone is free.
            os._exit(FORCED)
        stop.set()

    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, asked_to_stop)
    app = App(config)
    with ExitStack() as stack:
        if config.metrics:
            check_page(config.metrics, config.insecure)
            stack.enter_context(metrics.page(config.metrics, app.runs_now))
        await app.start()
        # What is loaded stays for good. To look through it for garbage took 0.3 s, in which nobody is answered.
        gc.collect()
        gc.freeze()
        on_ready(Addresses(app.address, app.http_address, app.console_address))
        await stop.wait()
        await app.stop()
