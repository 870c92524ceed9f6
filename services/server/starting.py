"""Handlers of services that come after the server has started: health must answer while a model loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc
from google.protobuf import empty_pb2

from rlhf_core.errors import Loading
from services.wire.status import status_of

LOADING = Loading("the model is being loaded", hint="try again in a moment")


class LateHandlers(grpc.GenericRpcHandler):
    """Stands for a server where generated code adds a servicer, and passes calls on to what was added."""

    def __init__(self) -> None:
        self._handlers: list[grpc.GenericRpcHandler] = []
        self._expected: frozenset[str] = frozenset()

    def expect(self, services: Sequence[str]) -> None:
        """Expect services that are still to come: calls to them are told to try again."""
        self._expected = frozenset(services)

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._handlers += handlers

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        """Do nothing: gRPC registers the same methods a second time here, only to look them up faster."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        if handler_call_details.method.strip("/").partition("/")[0] in self._expected:
            # Any request reads as an empty one with fields that are not known.
            return grpc.unary_unary_rpc_method_handler(_loading, empty_pb2.Empty.FromString)
        found = (handler.service(handler_call_details) for handler in self._handlers)
        return next((handler for handler in found if handler is not None), None)


async def _loading(_: object, context: grpc.aio.ServicerContext) -> None:
    # Not raised, as clients are told not to repeat what the server raises: this they shall.
    status = status_of(LOADING)
    await context.abort(status.code, status.details, status.trailing_metadata)
