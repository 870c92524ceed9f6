"""The HTTP server beside gRPC's, in the same process and on the same event loop: its address, encryption and end."""

from __future__ import annotations

import asyncio
import contextlib
import difflib
import math
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from rlhf_core.errors import InvalidInput, Unavailable
from services.http.calls import ANY, Endpoint
from services.http.errors import body_of, told_of
from services.security.tls import TlsConfig, server_context
from services.server.server import BACKSTOP, check_address
from services.server.starting import LOADING
from services.serving.executor import GOING_DOWN

FIELD = "http.address"
HEALTH = "/health"


class HttpServer:
    """A bound address; `open` says there that the model is loading, `offer` adds the paths, `drain` ends it."""

    def __init__(self, address: str, tls: TlsConfig, calls: int, may_be_open: bool):
        """At most so many `calls` are let in at once. Raises InvalidInput when the address is taken, open or none."""
        if address.startswith("unix:"):
            raise InvalidInput(f"{FIELD}: '{address}' is a socket; write it as host:port", FIELD)
        check_address(address, may_be_open, FIELD)
        self._socket = _bound(address)
        self._paths: Mapping[str, Endpoint] | None = None
        self._draining = asyncio.Event()
        self._server = _Uvicorn(_config(self, server_context(tls), BACKSTOP * calls))
        self._serving: asyncio.Task[None] | None = None
        host = address.rpartition(":")[0]
        self.address = f"{'https' if tls.cert else 'http'}://{host}:{self._socket.getsockname()[1]}"

    def open(self) -> None:
        """From now on every path is answered."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve([self._socket]))

    def offer(self, endpoints: Sequence[Endpoint], draining: asyncio.Event) -> None:
        """From now on these are there, and health is good until the process is told to stop."""
        self._paths, self._draining = {endpoint.path: endpoint for endpoint in endpoints}, draining

    async def drain(self, grace_seconds: float) -> None:
        """New calls are refused; those at work have `grace_seconds` to finish."""
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application."""
        path, paths = scope["path"], self._paths or {}
        before, _, last = path.rpartition("/")
        endpoint = paths.get(path) or paths.get(before + ANY) or paths.get(f"{before.rpartition('/')[0]}{ANY}/{last}")
        if endpoint is not None:
            await endpoint(scope, receive, send)
            return
        if self._paths is None:
            response = told_of(LOADING).response
        elif path == HEALTH and self._draining.is_set():
            response = told_of(Unavailable(GOING_DOWN)).response
        elif path == HEALTH:
            response = JSONResponse({"status": "serving"})
        else:
            response = JSONResponse(_no_such_path(path, self._paths), HTTPStatus.NOT_FOUND)
        await response(scope, receive, send)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the process's own affair."""
        yield


def _config(app: HttpServer, context: ssl.SSLContext | None, most: int) -> uvicorn.Config:
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


def _bound(address: str) -> socket.socket:
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
        told = f"{FIELD}: cannot listen on {address}: {error.strerror}; choose another port"
        raise InvalidInput(told, FIELD) from None
    return bound


def _no_such_path(path: str, paths: Mapping[str, Endpoint]) -> dict[str, dict[str, str | None]]:
    known = [*paths, HEALTH]
    near = difflib.get_close_matches(path, known, n=1)
    help_ = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    return body_of(f"this server has no {path[:200]!r}; {help_}", HTTPStatus.NOT_FOUND, "NO_SUCH_PATH", "path")
