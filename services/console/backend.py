"""The services as the console calls them: over gRPC, with the token of whoever looks at a page."""

from __future__ import annotations

import getpass
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple
from urllib.parse import unquote

import grpc
from charter.v1 import (
    annotation_pb2_grpc,
    assessment_pb2_grpc,
    critique_pb2_grpc,
    dataset_pb2_grpc,
    exploration_pb2_grpc,
    policy_pb2_grpc,
    preference_pb2_grpc,
    server_pb2,
    server_pb2_grpc,
    study_pb2_grpc,
    trainer_pb2_grpc,
)
from starlette.requests import Request
from starlette.responses import Response

from rlhf_core.errors import Unauthenticated
from services.client.connection import OPTIONS
from services.console.sessions import Sessions
from services.security.scopes import GRANTS, Scope
from services.wire.status import error_from_call

TOKEN_COOKIE = "charter_token"
"""Holds a session's number; or, of a program, its token itself."""
NAME_COOKIE = "charter_name"
CALL_SECONDS = 60
"""Of all calls but the streams."""
SERVER = "the server"
POLICIES = "policies"
"""What the services of policies and of runs both tell of policies; who runs only the second one loads no model."""


class Visitor(NamedTuple):
    """Who looks at a page, as the services know them."""

    name: str
    """Of the token; empty where the server asks for none."""
    scopes: tuple[Scope, ...]
    services: frozenset[str]
    """The short names of what the server offers: `policy`, `trainer`; and `policies`."""

    def may(self, scope: Scope) -> bool:
        """Tell whether the services would let this visitor."""
        return any(scope in GRANTS[granted] for granted in self.scopes)


class Backend:
    """A connection to the services. Who may do what is theirs to say."""

    def __init__(self, target: str):
        """`target` is where this process's own gRPC server is reached. To be made on a running event loop."""
        self.sessions = Sessions()
        self._channel = grpc.aio.insecure_channel(target, options=OPTIONS)
        self.trainer = trainer_pb2_grpc.TrainerServiceStub(self._channel)
        self.policy = policy_pb2_grpc.PolicyServiceStub(self._channel)
        self.preference = preference_pb2_grpc.PreferenceServiceStub(self._channel)
        self.annotation = annotation_pb2_grpc.AnnotationServiceStub(self._channel)
        self.assessment = assessment_pb2_grpc.AssessmentServiceStub(self._channel)
        self.critique = critique_pb2_grpc.CritiqueServiceStub(self._channel)
        self.study = study_pb2_grpc.StudyServiceStub(self._channel)
        self.datasets = dataset_pb2_grpc.DatasetServiceStub(self._channel)
        self.exploration = exploration_pb2_grpc.ExplorationServiceStub(self._channel)
        self._server = server_pb2_grpc.ServerServiceStub(self._channel)

    async def ask(
        self, request: Request, method: Callable[..., Any], message: Any, seconds: float = CALL_SECONDS
    ) -> Any:
        """Make one call for the visitor behind a request. Raises the service's error."""
        return await self.ask_as(self._token(request), method, message, seconds)

    async def ask_as(self, token: str, method: Callable[..., Any], message: Any, seconds: float = CALL_SECONDS) -> Any:
        """Make one call with a token that is not in the cookie yet."""
        try:
            return await method(message, metadata=_metadata(token), timeout=seconds)
        except grpc.aio.AioRpcError as error:
            raise error_from_call(error, SERVER) from None

    async def stream(self, request: Request, method: Callable[..., Any], message: Any) -> AsyncIterator[Any]:
        """Make a call that answers many times; leaving the loop cancels it. Raises the service's error.

        It ends with the visitor's session: Unauthenticated.
        """
        session = cookie_of(request, TOKEN_COOKIE)
        in_session = self.sessions.is_open(session)
        call = method(message, metadata=_metadata(self._token(request)))
        try:
            async for answer in call:
                if in_session and not self.sessions.is_open(session):
                    raise Unauthenticated("token: the session is over", "token")
                yield answer
        except grpc.aio.AioRpcError as error:
            raise error_from_call(error, SERVER) from None
        finally:
            call.cancel()

    async def visitor(self, request: Request) -> Visitor:
        """Return who is behind a request.

        Raises Unauthenticated where the server asks for a token and the cookie holds none that counts.
        """
        return await self.visitor_with(self._token(request))

    async def visitor_with(self, token: str) -> Visitor:
        answer = await self.ask_as(token, self._server.GetInfo, server_pb2.GetInfoRequest())
        services = (name.rpartition(".")[2].removesuffix("Service").lower() for name in answer.info.services)
        found, caller = frozenset(services), answer.caller
        told = {POLICIES} if found & {"policy", "trainer"} else set[str]()
        return Visitor(caller.name, tuple(caller.scopes), found | told)

    async def close(self) -> None:
        await self._channel.close()

    def _token(self, request: Request) -> str:
        given = cookie_of(request, TOKEN_COOKIE)
        return self.sessions.token(given) or given


def person_of(request: Request, visitor: Visitor) -> str:
    """Name a visitor by the token's name; without tokens by the name typed here, or else the system's user."""
    return visitor.name or unquote(cookie_of(request, NAME_COOKIE)) or _user()


def is_named(request: Request, visitor: Visitor) -> bool:
    """Tell whether a visitor's name was given by somebody, and not guessed."""
    return bool(visitor.name or cookie_of(request, NAME_COOKIE))


def cookie_name(request: Request, name: str) -> str:
    """Name a cookie: over TLS with the prefix by which browsers let this host alone set it, and send it so."""
    return f"__Host-{name}" if request.url.scheme == "https" else name


def cookie_of(request: Request, name: str) -> str:
    return request.cookies.get(cookie_name(request, name), "")


def set_cookie(request: Request, response: Response, name: str, value: str, max_age: int | None = None) -> None:
    """Set a cookie that no script reads and no other site sends."""
    secure = request.url.scheme == "https"
    key = cookie_name(request, name)
    response.set_cookie(key, value, max_age, path="/", secure=secure, httponly=True, samesite="strict")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "me"


def can_be_token(text: str) -> bool:
    """Tell whether a header can hold the text, and so a cookie."""
    return bool(text) and text.isascii() and text.isprintable()


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    """A cookie may hold anything; what no token can hold is sent as none."""
    return (("authorization", f"Bearer {token}"),) if can_be_token(token) else ()
