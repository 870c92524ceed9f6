"""A server on a socket that hands every call on: a worker finds there the services that Ray keeps elsewhere."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from services.cluster.calls import CODES, OPTIONS, Answer, Metadata

Answers = Callable[[str, bytes, Metadata], AsyncIterator[Answer]]
"""From the path of a method, its request and the caller's metadata."""


class _Everything(grpc.GenericRpcHandler):
    def __init__(self, answers: Answers):
        self._answers = answers

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        path: str = handler_call_details.method  # pyright: ignore[reportAttributeAccessIssue]

        async def handle(request: bytes, context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
            metadata: Any = context.invocation_metadata() or ()
            async for answer in self._answers(path, request, metadata):
                if answer.code:
                    context.set_trailing_metadata(answer.trailing)
                    await context.abort(CODES[answer.code], answer.details)
                yield answer.data

        return grpc.unary_stream_rpc_method_handler(handle)


async def relay(address: str, answers: Answers) -> grpc.aio.Server:
    """Start a server that answers each call by `answers`."""
    server = grpc.aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((_Everything(answers),))
    server.add_insecure_port(address)
    await server.start()
    return server
