"""grpc.health.v1 for the process, each service and each model; a watch ends when the server goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse.ServingStatus
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
MODEL = "model:"
"""Begins the name of a model: `model:policy`, `model:critic`, `model:judge`, `model:training`."""


class Health(health_pb2_grpc.HealthServicer):
    """States by name; the empty name stands for the whole process.

    Not the servicer of grpcio-health-checking: the first watcher to leave takes its fellows' notifications along, and
    a watcher that stays holds up the server's stop for the whole grace period.
    """

    def __init__(self, names: Iterable[str] = ()):
        """All names begin as NOT_SERVING."""
        self._states: dict[str, Status] = dict.fromkeys(("", *names), NOT_SERVING)
        self._changed = asyncio.Condition()
        self._leaving = False

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._states)

    async def set(self, names: Iterable[str], state: Status) -> None:
        """Set a service's status; after `leave` nothing changes any more."""
        if not self._leaving:
            async with self._changed:
                self._states |= dict.fromkeys(names, state)
                self._changed.notify_all()

    async def leave(self) -> None:
        """Say NOT_SERVING for all, for good; every watcher is told and let go."""
        await self.set(self.names, NOT_SERVING)
        self._leaving = True
        async with self._changed:
            self._changed.notify_all()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        state = self._states.get(request.service)
        if state is None:
            known = ", ".join(name for name in self._states if name)
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no '{request.service}' here; allowed: {known}")
        return health_pb2.HealthCheckResponse(status=state)

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        sent: Status | None = None
        while True:
            state = self._states.get(request.service, SERVICE_UNKNOWN)
            if state != sent:
                sent = state
                yield health_pb2.HealthCheckResponse(status=state)
                continue
            if self._leaving:
                return
            async with self._changed:
                if self._states.get(request.service, SERVICE_UNKNOWN) == sent and not self._leaving:
                    await self._changed.wait()
