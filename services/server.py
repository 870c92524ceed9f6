"""The gRPC server: address, limits, error mapping, token, health and reflection, the same for every service."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from pydantic import ValidationError

from rlhf_core.errors import CharterError, InvalidInput, Violation
from services.channel import MAX_MESSAGE_BYTES
from services.health_service import SERVING, Health
from services.late import LateHandlers
from services.status import internal_status, status_of, unimplemented_status

log = logging.getLogger("charter.server")

OPTIONS = (
    # Without this a second server on the same port would silently get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),
)
MAX_CALLS = 512
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
OPEN_SERVICES = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class Service(NamedTuple):
    """A service to be offered: its full name, the generated function that adds it, and what answers."""

    name: str
    add: Callable[[Any, Any], None]
    servicer: object


class Server:
    """A bound address; `open` answers health on it, `offer` adds the services, `drain` lets calls at work finish."""

    def __init__(self, address: str, token: str = "", insecure: bool = False):
        """Raises InvalidInput when the address is taken, not local, or not an address."""
        _check_address(address, insecure)
        interceptors = [ErrorInterceptor(), *([TokenInterceptor(token)] if token else [])]
        self._server = grpc.aio.server(interceptors=interceptors, options=OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
        self.address = self._bind(address)
        self.draining = asyncio.Event()
        """Set when the server goes; calls that last for ever end then."""
        self._started = False
        self._health = Health()
        self._late = LateHandlers()

    def _bind(self, address: str) -> str:
        try:
            port = self._server.add_insecure_port(address)
        except RuntimeError:
            port = 0
        if port == 0:
            raise InvalidInput(f"address: cannot listen on {address}; is it taken? choose another port", "address")
        if address.startswith("unix:"):
            os.chmod(address.removeprefix("unix:"), 0o600)
            return address
        return f"{address.rpartition(':')[0]}:{port}"

    async def open(self, services: Sequence[str], models: Sequence[str]) -> None:
        """Answer health for services and models that are still to come; calls to them are told to try again."""
        self._health = Health((*services, *models))
        self._late.expect(services)
        self._server.add_generic_rpc_handlers((self._late,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        shown = (*services, "grpc.health.v1.Health", reflection.SERVICE_NAME)
        reflection.enable_server_reflection(shown, self._server)
        await self._server.start()
        self._started = True

    async def offer(self, services: Sequence[Service]) -> None:
        """From now on all is SERVING."""
        for service in services:
            service.add(service.servicer, self._late)
        self._late.expect(())
        await self._health.set(self._health.names, SERVING)

    async def leave(self) -> None:
        """NOT_SERVING from now on, so that balancers turn elsewhere; calls are still taken."""
        self.draining.set()
        await self._health.leave()

    async def drain(self, grace_seconds: float) -> None:
        """New calls are refused at once; those at work have `grace_seconds` to finish."""
        await self.leave()
        await self._server.stop(grace_seconds)

    async def close(self) -> None:
        """Let go of the address. gRPC keeps that of a server that never started until it has been."""
        if not self._started:
            await self._server.start()
        await self._server.stop(None)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns what a method raises into a status with details; a mistake of ours shows the caller only an id."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is not None and handler.unary_unary:
            guarded = _guard_unary(handler.unary_unary)
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_unary_rpc_method_handler(guarded, *coding)
        if handler is not None and handler.unary_stream:
            guarded = _guard_stream(handler.unary_stream)
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_stream_rpc_method_handler(guarded, *coding)
        return handler or grpc.unary_unary_rpc_method_handler(_unknown(handler_call_details.method))


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the bearer token; health and reflection stay open."""

    def __init__(self, token: str):
        self._expected = f"Bearer {token}".encode()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        given = next((v for k, v in handler_call_details.invocation_metadata if k == "authorization"), "")
        given = given if isinstance(given, bytes) else given.encode()
        is_open = handler_call_details.method.startswith(OPEN_SERVICES)
        if is_open or hmac.compare_digest(given, self._expected):
            return await continuation(handler_call_details)
        return grpc.unary_unary_rpc_method_handler(_refuse)


async def _refuse(_: object, context: grpc.aio.ServicerContext) -> None:
    await context.abort(grpc.StatusCode.UNAUTHENTICATED, "a bearer token is needed: --token or CHARTER_TOKEN")


def _unknown(method: str) -> Callable[..., Awaitable[None]]:
    async def refuse(_: object, context: grpc.aio.ServicerContext) -> None:
        status = unimplemented_status(method)
        await context.abort(status.code, status.details, status.trailing_metadata)

    return refuse


def _guard_unary(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await method(request, context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error)

    return guarded


def _guard_stream(method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            async for answer in method(request, context):
                yield answer
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error)

    return guarded


async def _abort(context: grpc.aio.ServicerContext, error: Exception) -> None:
    if isinstance(error, ValidationError):
        error = invalid_input(error)
    if isinstance(error, CharterError):
        status = status_of(error)
    else:
        incident = secrets.token_hex(4)
        log.error("internal error %s", incident, exc_info=error)
        status = internal_status(incident)
    await context.abort(status.code, status.details, (*status.trailing_metadata, *_no_retry(status.code)))


def _no_retry(code: grpc.StatusCode) -> tuple[tuple[str, str], ...]:
    """What is unavailable here has been tried here; a caller that tries again at once would multiply the tries."""
    return (("grpc-retry-pushback-ms", "-1"),) if code == grpc.StatusCode.UNAVAILABLE else ()


def invalid_input(error: ValidationError) -> InvalidInput:
    """All of pydantic's complaints with their dotted paths; the text is the first one's, and names the others."""
    violations = []
    for fault in error.errors(include_url=False, include_context=False):
        field = ".".join(map(str, fault["loc"]))
        violations.append(Violation(field, f"{field}: {fault['msg']}; it is {str(fault['input'])[:200]!r}"))
    first, *others = violations
    more = f" (also wrong: {', '.join(violation.field for violation in others)})" if others else ""
    return InvalidInput(f"{first.message}{more}", first.field, violations=violations)


def _check_address(address: str, insecure: bool) -> None:
    if address.startswith("unix:"):
        _check_socket(Path(address.removeprefix("unix:")))
        return
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and int(port) < 2**16):
        raise InvalidInput(f"address: '{address}' is not host:port or unix:/path", "address")
    if host not in LOOPBACK and not insecure:
        raise InvalidInput(
            f"address: {host} can be reached from other machines and the connection is not encrypted; "
            "use 127.0.0.1, or --insecure if the network is yours alone",
            "address",
        )


def _check_socket(path: Path) -> None:
    """gRPC would take over the socket of a living server without a word."""
    if len(os.fsencode(path)) > 100:
        raise InvalidInput(f"address: the path of the socket is longer than 100 bytes: {path}", "address")
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return
    raise InvalidInput(f"address: another server listens on {path}", "address")
