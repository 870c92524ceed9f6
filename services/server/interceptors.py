"""What stands between the wire and a method: who may call, how much at once, and where every refusal is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from rlhf_core.errors import CharterError, InvalidInput, Violation
from services.security.callers import CALLER, EVERYBODY, RIGHT, Right
from services.security.scopes import check_scope, is_open
from services.security.tokens import Caller, Tokens
from services.server.incidents import incident_of, told
from services.server.limits import Limits, Turnstile, check_request
from services.server.undecodable_requests import malformed, subject
from services.wire.refusals import invalid_input
from services.wire.status import internal_status, status_of, unimplemented_status

Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Turns what a method raises into a status with details; a mistake of ours shows the caller only an id.

    The outermost one. It reads requests itself, as gRPC would call bytes that are no message an internal error.
    """

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return grpc.unary_unary_rpc_method_handler(_unknown(method))
        parse = partial(_parsed, handler.request_deserializer, method)
        if handler.unary_unary:
            guarded = _guard_unary(handler.unary_unary, method, parse)
            return grpc.unary_unary_rpc_method_handler(guarded, None, handler.response_serializer)
        if handler.unary_stream:
            guarded = _guard_stream(handler.unary_stream, method, parse)
            return grpc.unary_stream_rpc_method_handler(guarded, None, handler.response_serializer)
        if handler.stream_unary:
            guarded = _guard_unary(handler.stream_unary, method, partial(_each, parse))
            return grpc.stream_unary_rpc_method_handler(guarded, None, handler.response_serializer)
        if handler.stream_stream:
            guarded = _guard_stream(handler.stream_stream, method, partial(_each, parse))
            return grpc.stream_stream_rpc_method_handler(guarded, None, handler.response_serializer)
        return handler


class Gate(grpc.aio.ServerInterceptor):
    """Lets a call through that has a token for its scope, a place at the turnstile, and asks for no more than allowed.

    Health and reflection stay open. Without tokens everybody may do everything.
    """

    def __init__(self, tokens: Tokens, limits: Limits, turnstile: Turnstile):
        self._tokens = tokens
        self._limits = limits
        self._turnstile = turnstile

    async def intercept_service(
        self, continuation: Continuation, handler_call_details: grpc.HandlerCallDetails
    ) -> grpc.RpcMethodHandler:
        method = handler_call_details.method
        if is_open(method):
            return await continuation(handler_call_details)
        let_in = partial(self._let_in, method, _authorization(handler_call_details))
        try:
            caller = let_in()
        except CharterError as error:
            return grpc.unary_unary_rpc_method_handler(_raising(error))
        handler = await continuation(handler_call_details)
        if handler is not None and handler.unary_unary:
            counted = self._count_unary(handler.unary_unary, caller)
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_unary_rpc_method_handler(counted, *coding)
        if handler is not None and handler.unary_stream:
            counted = self._count_stream(handler.unary_stream, caller, Right(let_in))
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_stream_rpc_method_handler(counted, *coding)
        if handler is not None and handler.stream_unary:
            counted = self._count_sent(handler.stream_unary, caller, Right(let_in))
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.stream_unary_rpc_method_handler(counted, *coding)
        return handler

    def _let_in(self, method: str, authorization: str | bytes) -> Caller:
        """Who calls. Raises Unauthenticated and Forbidden."""
        if not self._tokens:
            return EVERYBODY
        caller = self._tokens.caller(authorization)
        check_scope(method, caller.scopes, caller.name)
        return caller

    def _count_unary(self, method: Callable[..., Awaitable[Any]], caller: Caller) -> Callable[..., Awaitable[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            CALLER.set(caller)
            with self._turnstile.entered(caller.name or _host(context.peer())):
                check_request(request, self._limits)
                return await method(request, context)

        return counted

    def _count_stream(
        self, method: Callable[..., Any], caller: Caller, right: Right
    ) -> Callable[..., AsyncIterator[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            CALLER.set(caller)
            RIGHT.set(right)
            with self._turnstile.entered(caller.name or _host(context.peer())):
                check_request(request, self._limits)
                async for answer in method(request, context):
                    right.check()
                    yield answer

        return counted

    def _count_sent(
        self, method: Callable[..., Awaitable[Any]], caller: Caller, right: Right
    ) -> Callable[..., Awaitable[Any]]:
        async def checked(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for request in requests:
                right.check()
                check_request(request, self._limits)
                yield request

        async def counted(requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> Any:
            CALLER.set(caller)
            with self._turnstile.entered(caller.name or _host(context.peer())):
                return await method(checked(requests), context)

        return counted


def _authorization(details: grpc.HandlerCallDetails) -> str | bytes:
    return next((value for key, value in details.invocation_metadata if key == "authorization"), "")


def _host(peer: str) -> str:
    """`ipv4:10.0.0.7:41234` without the port, which differs with every connection."""
    return peer.rpartition(":")[0] if peer.startswith("ip") else peer


def _raising(error: CharterError) -> Callable[..., Awaitable[None]]:
    async def refuse(_: object, context: grpc.aio.ServicerContext) -> None:
        raise error

    return refuse


def _unknown(method: str) -> Callable[..., Awaitable[None]]:
    async def refuse(_: object, context: grpc.aio.ServicerContext) -> None:
        status = unimplemented_status(method)
        await context.abort(status.code, status.details, status.trailing_metadata)

    return refuse


def _parsed(deserialize: Callable[[bytes], Any] | None, method: str, data: bytes) -> Any:
    try:
        return deserialize(data) if deserialize else data
    except DecodeError:
        raise malformed(method, data) from None


async def _each(parse: Callable[[bytes], Any], requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
    async for data in requests:
        yield parse(data)


def _guard_unary(
    run: Callable[..., Awaitable[Any]], method: str, parse: Callable[[Any], Any]
) -> Callable[..., Awaitable[Any]]:
    async def guarded(data: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await run(parse(data), context)
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error, method)

    return guarded


def _guard_stream(
    run: Callable[..., Any], method: str, parse: Callable[[Any], Any]
) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(data: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            async for answer in run(parse(data), context):
                yield answer
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except Exception as error:
            await _abort(context, error, method)

    return guarded


async def _abort(context: grpc.aio.ServicerContext, error: Exception, method: str) -> None:
    if isinstance(error, ValidationError):
        error = invalid_input(error)
    if isinstance(error, InvalidInput) and not error.violations and (field := subject(method)):
        # The core knows values, not requests: what it says without a place is about what the request brought.
        error.field, error.violations = field, (Violation(field, error.message),)
    status = status_of(error) if isinstance(error, CharterError) else internal_status(told(incident_of(error)))
    await context.abort(status.code, status.details, (*status.trailing_metadata, *_no_retry(status.code)))


def _no_retry(code: grpc.StatusCode) -> tuple[tuple[str, str], ...]:
    """What is unavailable here has been tried here; a caller that tries again at once would multiply the tries."""
    return (("grpc-retry-pushback-ms", "-1"),) if code == grpc.StatusCode.UNAVAILABLE else ()
