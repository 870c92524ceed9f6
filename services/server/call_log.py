"""Every call is named, timed, counted and logged: the outermost interceptor, which sees how each call ends."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc

from services.telemetry import logs, metrics
from services.wire.metadata import REQUEST_KEY, RUN_KEY

log = logging.getLogger("charter.calls")

_NAME = re.compile(r"[\w.:/-]{1,64}")
_STATUS = {status.value[0]: status for status in grpc.StatusCode}
QUIET = ("/grpc.health.", "/grpc.reflection.")
"""Asked every few seconds by machines; logged at DEBUG."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """The id of a call is the caller's own, or a new one; an answer brings it along in its trailing metadata."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata)
        call = _Call(handler_call_details.method, name_of(given.get(REQUEST_KEY)), name_of(given.get(RUN_KEY)))
        if handler is not None and handler.unary_unary:
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_unary_rpc_method_handler(call.unary(handler.unary_unary), *coding)
        if handler is not None and handler.unary_stream:
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.unary_stream_rpc_method_handler(call.stream(handler.unary_stream), *coding)
        if handler is not None and handler.stream_unary:
            coding = (handler.request_deserializer, handler.response_serializer)
            return grpc.stream_unary_rpc_method_handler(call.unary(handler.stream_unary), *coding)
        return handler


class _Call:
    def __init__(self, method: str, request: str, run: str):
        self._path = method
        self._request = request or new_name()
        self._run = run

    def unary(self, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def observed(request: Any, context: grpc.aio.ServicerContext) -> Any:
            context.set_trailing_metadata(((REQUEST_KEY, self._request),))
            with self._observed(context):
                answer = await method(request, context)
                metrics.TOKENS.inc(metrics.written_tokens(answer))
                return answer

        return observed

    def stream(self, method: Callable[..., Any]) -> Callable[..., AsyncIterator[Any]]:
        async def observed(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            context.set_trailing_metadata(((REQUEST_KEY, self._request),))
            with self._observed(context):
                async for answer in method(request, context):
                    metrics.TOKENS.inc(metrics.written_tokens(answer))
                    yield answer

        return observed

    def _observed(self, context: grpc.aio.ServicerContext) -> AbstractContextManager[None]:
        service, _, method = self._path.strip("/").rpartition("/")
        level = logging.DEBUG if self._path.startswith(QUIET) else logging.INFO
        return observed(service, method, self._request, self._run, lambda: _code(context), level)


@contextmanager
def observed(
    service: str, method: str, request: str, run: str, code: Callable[[], str], level: int = logging.INFO
) -> Iterator[None]:
    """Count, time and log a call for as long as the block lasts; `code` then tells how it ended, as gRPC calls it."""
    logs.REQUEST.set(request)
    logs.RUN.set(run)
    started, cancelled = time.perf_counter(), False
    metrics.CALLS_AT_WORK.inc()
    try:
        yield
    except (asyncio.CancelledError, GeneratorExit):
        cancelled = True
        raise
    finally:
        metrics.CALLS_AT_WORK.dec()
        ended, seconds = "CANCELLED" if cancelled else code(), time.perf_counter() - started
        # Names that nothing here has are the caller's, who may think of any number of them.
        named = ("", "") if ended == "UNIMPLEMENTED" else (service, method)
        metrics.CALLS.labels(*named, ended).inc()
        metrics.CALL_SECONDS.labels(*named).observe(seconds)
        told = {"method": f"{service}/{method}", "code": ended, "seconds": round(seconds, 4)}
        log.log(level, "%s/%s %s in %.1f ms", service, method, ended, 1000 * seconds, extra=told)


def _code(context: grpc.aio.ServicerContext) -> str:
    """As the method, or the interceptor that turned its error into a status, has set it."""
    code = context.code()
    return (code if isinstance(code, grpc.StatusCode) else _STATUS[int(code or 0)]).name


def new_name() -> str:
    """Name a call whose caller has given it no name."""
    return secrets.token_hex(8)


def name_of(given: str | bytes | None) -> str:
    """Return what a caller calls a call, where that can stand in a line of a log."""
    return given if isinstance(given, str) and _NAME.fullmatch(given) else ""
