"""The processes of an installation as replicas of Ray Serve, which starts them, restarts them and finds them.

Each holds the server that `charter serve` runs, on a socket of its own; tokens, limits and errors are that server's.
Serve imports this module on the nodes, and `build` there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from ray import serve  # pyright: ignore[reportMissingImports]
from ray.exceptions import RayError  # pyright: ignore[reportMissingImports]
from ray.serve.exceptions import RayServeException  # pyright: ignore[reportMissingImports]

from rlhf_core.config.learner import PROCESSES
from services.app import App
from services.cluster.calls import (
    CODES,
    LOST,
    OPTIONS,
    Answer,
    Metadata,
    Method,
    ask,
    failure,
    methods,
    passed_on,
    role_of,
)
from services.cluster.config import FRONT, WORKER, Cluster
from services.cluster.learners import ray_learners
from services.cluster.relay import relay
from services.server.config import WITH_MODEL
from services.telemetry import logs


class Process:
    """A server of Charter on a socket in a folder of its own."""

    def __init__(self, cluster: Cluster, role: str):
        """Nothing runs before `start`."""
        self._folder = tempfile.TemporaryDirectory(prefix="charter-")
        self.socket, self.relay = (f"unix:{self._folder.name}/{name}" for name in ("server", "relay"))
        config = cluster.process(role, self.socket, self.relay if role == WORKER else "")
        logs.set_up(config.log_format, config.log_level)
        self._app = App(config, learning=partial(ray_learners, cpus=cluster.cpus))
        self.channel = grpc.aio.insecure_channel(self.socket, options=OPTIONS)

    async def start(self) -> None:
        """Load what there is to load, and serve."""
        await self._app.start()

    async def check(self) -> None:
        """Raise where the server does not say that it serves."""
        health: Any = health_pb2_grpc.HealthStub(self.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise RuntimeError(f"the server says {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}")

    async def stop(self) -> None:
        """Put the run at work back into the queue, finish the calls at work, close the store."""
        await self._app.stop()
        await self.channel.close()
        self._folder.cleanup()


class Model:
    """A service with a model: policy, critique or reward."""

    async def __init__(self, cluster: Cluster, role: str):
        self._process = Process(cluster.on_node(os.environ), role)
        await self._process.start()

    async def answers(self, path: str, request: bytes, metadata: Metadata) -> AsyncIterator[Answer]:
        """Yield what the server of this replica answers to a call."""
        async for answer in ask(self._process.channel, path, request, metadata):
            yield answer

    async def check_health(self) -> None:
        """Tell Serve whether this replica is to be replaced."""
        await self._process.check()

    async def __del__(self) -> None:
        """Stop before Serve ends this replica."""
        await self._process.stop()


class Models:
    """The services with a model as another replica reaches them: Serve chooses who answers."""

    def __init__(self, handles: dict[str, Any]):
        self._handles = {role: handle.options(stream=True) for role, handle in handles.items()}

    async def answers(self, path: str, request: bytes, metadata: Metadata) -> AsyncIterator[Answer]:
        """Yield what a replica answers; one that is lost meanwhile is a server that is away for a while."""
        handle = self._handles.get(role_of(path, request))
        if handle is None:
            yield Answer(code=grpc.StatusCode.UNIMPLEMENTED.value[0], details=f"{path} is of no service with a model")
            return
        answers = handle.answers.remote(path, request, passed_on(metadata))
        try:
            async for answer in answers:
                yield answer
        except (RayError, RayServeException):
            yield Answer(code=LOST)
        finally:
            answers.cancel()


class Worker:
    """Carries out runs, one at a time; asks the models by a relay, and trains in Ray Train jobs."""

    async def __init__(self, cluster: Cluster, **handles: Any):
        if cluster.learners:
            os.environ[PROCESSES] = str(cluster.learners)
        self._process = Process(cluster.on_node(os.environ), WORKER)
        self._relay = await relay(self._process.relay, Models(handles).answers)
        await self._process.start()

    async def check_health(self) -> None:
        """Tell Serve whether this replica is to be replaced."""
        await self._process.check()

    async def __del__(self) -> None:
        """Put the run at work back into the queue before Serve ends this replica."""
        await self._process.stop()
        await self._relay.stop(None)


class Front:
    """What Serve's gRPC proxy calls: all of our methods, answered here or by a replica with a model."""

    async def __init__(self, cluster: Cluster, workers: Any, **handles: Any):
        """`workers` are there because the front knows them; nobody asks them anything."""
        self._process, self._models = Process(cluster.on_node(os.environ), FRONT), Models(handles)
        await self._process.start()

    async def check_health(self) -> None:
        """Tell Serve whether this replica is to be replaced."""
        await self._process.check()

    async def __del__(self) -> None:
        """Stop before Serve ends this replica."""
        await self._process.stop()

    def _answers(self, path: str, request: bytes, metadata: Metadata) -> AsyncIterator[Answer]:
        if role_of(path, request):
            return self._models.answers(path, request, metadata)
        return ask(self._process.channel, path, request, metadata)


def _answering(method: Method) -> Any:
    """Make the front's method of this name, with the signature by which Serve knows its kind."""

    async def once(self: Front, request: Any, grpc_context: Any) -> Any:
        answer = Answer(code=LOST)
        async for found in self._answers(method.path, request.SerializeToString(), grpc_context.invocation_metadata()):
            answer = found
        return _told(method, answer, grpc_context)

    async def many_times(self: Front, request: Any, grpc_context: Any) -> AsyncIterator[Any]:
        async for answer in self._answers(method.path, request.SerializeToString(), grpc_context.invocation_metadata()):
            found = _told(method, answer, grpc_context)
            if answer.code:
                # What Serve's proxy passes on of a stream that fails: its code and details, not its trailing metadata.
                raise RuntimeError(answer.details)
            yield found

    async def of_many(self: Front, request: Any, grpc_context: Any) -> Any:
        metadata = passed_on(grpc_context.invocation_metadata())
        requests = (each.SerializeToString() async for each in request)
        try:
            answer = Answer(await self._process.channel.stream_unary(method.path)(requests, metadata=metadata))
        except grpc.aio.AioRpcError as error:
            answer = failure(error)
        return _told(method, answer, grpc_context)

    return of_many if method.hears_stream else many_times if method.answers_stream else once


def _told(method: Method, answer: Answer, context: Any) -> Any:
    """Return the message, which is empty where the context says how the call failed."""
    if answer.code:
        context.set_code(CODES[answer.code])
        context.set_details(answer.details)
        context.set_trailing_metadata(list(answer.trailing))
    return method.answer.FromString(answer.data)


for _method in methods():
    setattr(Front, _method.name, _answering(_method))


def build(args: dict[str, Any]) -> Any:
    """Make Serve's application of what `charter cluster up` or a RayService says."""
    cluster = Cluster.model_validate(args)

    def deployment(kind: type, role: str) -> Any:
        reserved = cluster.reserved(role)
        return serve.deployment(
            kind,
            name=role,
            num_replicas=cluster.copies(role),
            max_ongoing_requests=cluster.server.limits.calls,
            ray_actor_options={"num_cpus": reserved.cpus, "num_gpus": reserved.gpus},
            graceful_shutdown_timeout_s=cluster.stop_seconds(role),
        )

    models = {role: deployment(Model, role).bind(cluster, role) for role in WITH_MODEL}
    workers = deployment(Worker, WORKER).bind(cluster, **models)
    return deployment(Front, FRONT).bind(cluster, workers, **models)
