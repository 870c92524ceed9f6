"""The HTTP edge on its address: which path is answered by which endpoint."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from rlhf_core.errors import Unavailable
from services.http.calls import ANY, Endpoint
from services.http.errors import body_of, told_of
from services.http.listener import Listener
from services.security.tls import TlsConfig
from services.server.starting import LOADING
from services.serving.executor import GOING_DOWN

FIELD = "http.address"
HEALTH = "/health"


class HttpServer:
    """The edge on its listener's address: it says that the model is loading until `offer` adds the paths."""

    def __init__(self, address: str, tls: TlsConfig, calls: int, may_be_open: bool):
        """At most so many `calls` are let in at once. Raises InvalidInput when the address is taken, open or none."""
        self.listener = Listener(self, address, tls, calls, may_be_open, FIELD)
        self._paths: Mapping[str, Endpoint] | None = None
        self._draining = asyncio.Event()

    def offer(self, endpoints: Sequence[Endpoint], draining: asyncio.Event) -> None:
        """Offer these services from now on; health is good until the process is told to stop."""
        self._paths, self._draining = {endpoint.path: endpoint for endpoint in endpoints}, draining

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


def _no_such_path(path: str, paths: Mapping[str, Endpoint]) -> dict[str, dict[str, str | None]]:
    known = [*paths, HEALTH]
    near = difflib.get_close_matches(path, known, n=1)
    help_ = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
    return body_of(f"this server has no {path[:200]!r}; {help_}", HTTPStatus.NOT_FOUND, "NO_SUCH_PATH", "path")
