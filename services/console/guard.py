"""What stands before every page: who may send what from where, and what a browser may do with an answer."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.server.incidents import incident_of, told

MAX_BODY = 2**20
"""Bytes of what a page sends."""
BODY_SECONDS = 60
"""How long a page's script may take to send the next part of it."""
READING = ("GET", "HEAD")
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'"
    ),
    "x-content-type-options": "nosniff",
    # Not `no-referrer`: a browser would then send the forms of these pages with the origin `null`.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
"""Of every answer. A script or a style within a page never runs, and no page asks another host for anything."""
TLS_ONLY = "max-age=31536000"
"""Of every answer over TLS: for a year the browser asks this host in no other way."""
PRIVATE = "no-store"
FILES = "/static/"
UPLOAD = "/datasets/upload"
"""Takes whole files."""


class Guard:
    """ASGI middleware: refuses what another site sends in a visitor's name, and adds the headers."""

    def __init__(self, app: ASGIApp, upload_bytes: int):
        self._app, self._upload_bytes = app, upload_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal begun
            begun = True
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                if scope["scheme"] == "https":
                    headers["strict-transport-security"] = TLS_ONLY
                headers.setdefault("cache-control", "no-cache" if scope["path"].startswith(FILES) else PRIVATE)
            await send(message)

        async def receive_soon() -> Message:
            async with asyncio.timeout(BODY_SECONDS):
                return await receive()

        reading = scope["method"] in READING
        most = self._upload_bytes if scope["path"] == UPLOAD else MAX_BODY
        refused = None if reading else _refusal(Headers(scope=scope), most)
        try:
            await (refused or self._app)(scope, receive if reading else receive_soon, send_guarded)
        except TimeoutError:
            await PlainTextResponse("the body did not arrive", HTTPStatus.REQUEST_TIMEOUT)(scope, receive, send_guarded)
        except Exception as error:
            # Here, as whoever else caught it would log its words, which may quote a prompt.
            failure = PlainTextResponse(told(incident_of(error)), HTTPStatus.INTERNAL_SERVER_ERROR)
            if not begun:
                await failure(scope, receive, send_guarded)


def _refusal(headers: Headers, most: int) -> PlainTextResponse | None:
    """What is wrong with a request that may change something."""
    origin, length = headers.get("origin", ""), headers.get("content-length", "")
    if not origin or origin.partition("://")[2] != headers.get("host"):
        return PlainTextResponse("this request comes from another site", HTTPStatus.FORBIDDEN)
    # With both, the body is as long as its pieces, whatever the length says (RFC 9112, 6.3).
    if not length.isdecimal() or "transfer-encoding" in headers:
        return PlainTextResponse("how long is the body?", HTTPStatus.LENGTH_REQUIRED)
    if int(length) > most:
        return PlainTextResponse(f"more than {most} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return None
