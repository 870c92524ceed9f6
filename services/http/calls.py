"""One call over HTTP: who may make it, how much at once, how it is logged, and that it ends when its caller goes."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from functools import partial
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError
from pydantic_core import from_json
from python_multipart.exceptions import MultipartParseError
from starlette.datastructures import Headers, QueryParams, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from rlhf_core.errors import InvalidInput, Unavailable
from services.http.errors import TooLarge, TooSlow, WrongMethod, told_of
from services.security.callers import CALLER, EVERYBODY, Right
from services.security.scopes import check_scope
from services.security.tokens import Caller, Tokens
from services.server.call_log import name_of, new_name, observed
from services.server.limits import Limits, Turnstile
from services.serving.executor import GOING_DOWN
from services.wire.metadata import REQUEST_KEY, RUN_KEY
from services.wire.refusals import invalid_input

BODY_SECONDS = 60.0
"""How long a body may take to arrive, so that none holds a place for ever."""
SERVICE = "http"
"""The service's name in metrics and logs."""
OK = "OK"
ANY = "/*"
"""In a path stands for any one name."""


class Pieces(NamedTuple):
    """The bytes of a file, as they come."""

    data: AsyncGenerator[bytes, None]


Answer = Mapping[str, Any] | list[Any] | float | Pieces | AsyncGenerator[str]
"""What becomes JSON, a file, or the events of a stream."""
Takes = Literal["json", "form", "nothing"]
"""What a body is; a form may hold a file."""
FORM_FIELDS = 20


class Asked(NamedTuple):
    """What a call brings: a JSON value, and what its address says."""

    body: Any
    query: QueryParams
    name: str = ""
    """The part of the path that may be any name."""


class FormFile(NamedTuple):
    """A file in a form."""

    name: str
    data: bytes


class Door(NamedTuple):
    """One way to ask a path; it stands for a method of the contract: who may call that may call this."""

    grpc_method: str
    answer: Callable[[Asked], Awaitable[Answer]]
    subject: str
    """The field that a request is about, for errors that name none."""
    takes: Takes = "json"


class Gate(NamedTuple):
    """What lets calls in, the same as for gRPC."""

    tokens: Tokens
    limits: Limits
    turnstile: Turnstile

    def caller(self, grpc_method: str, authorization: str) -> Caller:
        """Tell who calls what stands for a method of the contract. Raises Unauthenticated and Forbidden."""
        if not self.tokens:
            return EVERYBODY
        found = self.tokens.caller(authorization)
        check_scope(grpc_method, found.scopes, found.name)
        return found


class Endpoint:
    """An ASGI application for one path, with a door for each verb that it is asked by."""

    def __init__(self, gate: Gate, path: str, doors: Mapping[str, Door]):
        self._gate, self.path, self._doors = gate, path, doors
        self._place = path.split("/").index("*") if "*" in path else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        request = name_of(headers.get(REQUEST_KEY)) or new_name()
        reply, door = _Reply(send, request), self._doors.get(scope["method"])
        with observed(SERVICE, self.path, request, name_of(headers.get(RUN_KEY)), lambda: reply.code):
            try:
                if door is None:
                    verbs = " or ".join(self._doors)
                    raise WrongMethod(f"{self.path} is asked by {verbs}, not by {scope['method']}", "method")
                await self._let_in(door, scope, headers, receive, reply)
            except _Gone:
                reply.code = "CANCELLED"
            except asyncio.CancelledError:  # the server goes, and has waited long enough
                await reply.refuse(Unavailable(GOING_DOWN))
            except Exception as error:
                await reply.refuse(error, door.subject if door else "")

    async def _let_in(self, door: Door, scope: Scope, headers: Headers, receive: Receive, reply: _Reply) -> None:
        let_in = partial(self._gate.caller, door.grpc_method, _authorization(headers))
        caller = let_in()
        CALLER.set(caller)
        client = caller.name or (scope.get("client") or ("",))[0]
        with self._gate.turnstile.entered(client):
            body = await _body(headers, receive, self._gate.limits.message_bytes) if scope["method"] == "POST" else b""
            name = scope["path"].split("/")[self._place] if self._place is not None else ""
            asked = Asked(await _read(door.takes, headers, body), QueryParams(scope["query_string"]), name)
            await _while_there(receive, self._respond(door, asked, reply, Right(let_in)))

    async def _respond(self, door: Door, asked: Asked, reply: _Reply, right: Right) -> None:
        answer = await door.answer(asked)
        if isinstance(answer, AsyncGenerator):
            await reply.stream(answer, right)
        elif isinstance(answer, Pieces):
            await reply.file(answer.data, right)
        else:
            await reply.send(JSONResponse(answer))


class _Gone(Exception):
    """Nobody waits for the answer any more."""


class _Reply:
    """What is sent back, with the call's id, and how the call ended, as gRPC calls it."""

    def __init__(self, send: Send, request: str):
        self._send, self._request = send, request
        self.code = OK
        self.begun = self._tells = False

    async def send(self, response: Response) -> None:
        response.headers[REQUEST_KEY] = self._request
        response.headers["x-content-type-options"] = "nosniff"
        self.begun = True
        head: Message = {
            "type": "http.response.start",
            "status": response.status_code,
            "headers": response.raw_headers,
        }
        await self._send(head)
        await self._send({"type": "http.response.body", "body": bytes(response.body)})

    async def stream(self, events: AsyncGenerator[str], right: Right) -> None:
        """Send events. The first one is waited for, so that what is wrong with a call still has a status."""
        async with aclosing(events):
            first = await anext(events)
            await self._begin(b"text/event-stream; charset=utf-8")
            self._tells = True
            await self._event(first)
            async for event in events:
                right.check()
                await self._event(event)
            await self._send({"type": "http.response.body", "body": b""})

    async def file(self, pieces: AsyncGenerator[bytes, None], right: Right) -> None:
        """Send bytes. The first ones are waited for, as with a stream; where later ones fail the answer breaks off."""
        async with aclosing(pieces):
            first = await anext(pieces)
            await self._begin(b"application/octet-stream")
            await self._send({"type": "http.response.body", "body": first, "more_body": True})
            async for data in pieces:
                right.check()
                await self._send({"type": "http.response.body", "body": data, "more_body": True})
            await self._send({"type": "http.response.body", "body": b""})

    async def _begin(self, kind: bytes) -> None:
        self.begun = True
        headers = [(b"content-type", kind), (b"cache-control", b"no-cache")]
        named = [*headers, (REQUEST_KEY.encode(), self._request.encode())]
        await self._send({"type": "http.response.start", "status": 200, "headers": named})

    async def refuse(self, error: Exception, subject: str = "") -> None:
        """Tell an error, in the stream where that has begun; a file that breaks off tells it by that."""
        if isinstance(error, ValidationError):
            error = invalid_input(error)
        self.code, response = told_of(error, subject)
        if not self.begun:
            await self.send(response)
        elif self._tells:
            await self._event(bytes(response.body).decode())
            await self._send({"type": "http.response.body", "body": b""})

    async def _event(self, data: str) -> None:
        text = f"data: {data}\n\n"
        await self._send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def _while_there(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work unless the caller goes first: then it is cancelled."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise _Gone
        task.result()
    finally:
        gone.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(headers: Headers, receive: Receive, most: int) -> bytes:
    """All of it. Raises TooLarge, TooSlow, and _Gone where the caller leaves in its middle."""
    length = headers.get("content-length", "0")
    received = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            more = True
            while more:
                if max(len(received), int(length) if length.isdecimal() else 0) > most:
                    raise TooLarge(f"body: more than {most} bytes; allowed: at most so many", "body")
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise _Gone
                received += message.get("body", b"")
                more = message.get("more_body", False)
    except TimeoutError:
        raise TooSlow(f"body: it did not arrive within {BODY_SECONDS:g} seconds", "body") from None
    if len(received) > most:
        raise TooLarge(f"body: more than {most} bytes; allowed: at most so many", "body")
    return bytes(received)


async def _read(takes: Takes, headers: Headers, body: bytes) -> Any:
    """What a body says; nothing where nothing is asked for."""
    if takes == "nothing":
        return None
    return _json(body) if takes == "json" else await _form(headers, body)


async def _form(headers: Headers, body: bytes) -> dict[str, str | FormFile]:
    async def pieces() -> AsyncGenerator[bytes, None]:
        yield body

    if not headers.get("content-type", "").startswith("multipart/form-data"):
        raise InvalidInput("body: not a form; send it as multipart/form-data", "body")
    try:
        form = await MultiPartParser(headers, pieces(), max_files=1, max_fields=FORM_FIELDS).parse()
    except (MultiPartException, MultipartParseError, KeyError, UnicodeError, ValueError) as error:
        raise InvalidInput(f"body: not a form: {getattr(error, 'message', None) or error}", "body") from None
    found: dict[str, str | FormFile] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            found[name] = FormFile(value.filename or name, await value.read())
            await value.close()
        else:
            found[name] = value
    return found


def _json(body: bytes) -> Any:
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(f"body: not JSON: {error}", "body") from None


def _authorization(headers: Headers) -> str:
    """The header, where a password stands for a bearer token: a client that takes only an address sends it like so."""
    given = headers.get("authorization", "")
    scheme, _, packed = given.partition(" ")
    if scheme.lower() != "basic":
        return given
    try:
        return f"Bearer {base64.b64decode(packed, validate=True).decode().partition(':')[2]}"
    except (binascii.Error, UnicodeDecodeError):
        return given
