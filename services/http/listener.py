"""An address for HTTP beside gRPC's, in the same process and on the same event loop: binding, encryption and end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import ssl
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp

from rlhf_core.errors import InvalidInput
from services.security.tls import TlsConfig, server_context
from services.server.server import BACKSTOP, check_address


class Listener:
    """A bound address; `open` answers there by an ASGI application, `drain` ends it."""

    def __init__(self, app: ASGIApp, address: str, tls: TlsConfig, calls: int, may_be_open: bool, field: str):
        """At most so many `calls` are let in at once; `field` is the setting that names the address.

        Raises InvalidInput when the address is taken, none, or open to others where it may not be.
        """
        if address.startswith("unix:"):
            raise InvalidInput(f"{field}: '{address}' is a socket; write it as host:port", field)
        check_address(address, may_be_open, field)
        self._socket = _bound(address, field)
        self._server = _Uvicorn(_config(app, server_context(tls), BACKSTOP * calls))
        self._serving: asyncio.Task[None] | None = None
        host = address.rpartition(":")[0]
        self.address = f"{'https' if tls.cert else 'http'}://{host}:{self._socket.getsockname()[1]}"

    def open(self) -> None:
        """Answer every path from now on."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))

    async def drain(self, grace_seconds: float) -> None:
        """Refuse new calls; those at work have `grace_seconds` to finish."""
        self._server.config.timeout_graceful_shutdown = math.ceil(grace_seconds)
        await self.close()

    async def close(self) -> None:
        """Let go of the address. What is still at work is told that the server goes."""
        self._server.should_exit = True
        if self._serving is None:
            self._socket.close()
            return
        await self._serving
        # Those that the grace period cut off have a last word to say.
        if left := list(self._server.server_state.tasks):
            await asyncio.wait(left, timeout=1)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals alone: they are the process's own affair."""
        yield


def _config(app: ASGIApp, context: ssl.SSLContext | None, most: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        # Whoever calls is who is counted, whatever a header says.
        proxy_headers=False,
        limit_concurrency=most,
        timeout_graceful_shutdown=0,
        ssl_context_factory=(lambda _, __: context) if context else None,
    )


def _bound(address: str, field: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once where a socket says that it is TCP; else each body would wait 40 ms behind its head.
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, int(port)))
        # At once, or another server could take the same address until this one listens.
        bound.listen(socket.SOMAXCONN)
    except OSError as error:
        bound.close()
        told = f"{field}: cannot listen on {address}: {error.strerror}; choose another port"
        raise InvalidInput(told, field) from None
    return bound
