"""Our gRPC calls as what can be handed on: bytes and metadata to a server, and what it answers, errors included."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, NamedTuple

import grpc
from charter.v1 import (
    annotation_pb2,
    assessment_pb2,
    critique_pb2,
    dataset_pb2,
    exploration_pb2,
    policy_pb2,
    preference_pb2,
    reward_pb2,
    server_pb2,
    study_pb2,
    trainer_pb2,
)
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2

from services.server.config import WITH_MODEL

Metadata = Sequence[tuple[str, str | bytes]]
FILES = (
    *(annotation_pb2, assessment_pb2, critique_pb2, dataset_pb2, exploration_pb2, policy_pb2),
    *(preference_pb2, reward_pb2, server_pb2, study_pb2, trainer_pb2, health_pb2),
)
HEALTH = "grpc.health.v1.Health"
OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))
"""The server that answers has its own limits."""
CODES = {code.value[0]: code for code in grpc.StatusCode}
LOST = grpc.StatusCode.UNAVAILABLE.value[0]


class Method(NamedTuple):
    """A method of a service, by its path: /charter.v1.PolicyService/Generate."""

    path: str
    answer: type[Message]
    hears_stream: bool
    answers_stream: bool

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Answer(NamedTuple):
    """One message of an answer; or, with a code that is not OK, how the call failed."""

    data: bytes = b""
    code: int = 0
    details: str = ""
    trailing: tuple[tuple[str, str | bytes], ...] = ()


def methods() -> Iterator[Method]:
    """List every method of our services, and of health."""
    for service in _services():
        for one in service.methods:
            path = f"/{service.full_name}/{one.name}"
            yield Method(path, GetMessageClass(one.output_type), one.client_streaming, one.server_streaming)


def servicer_functions() -> Iterator[str]:
    """List the generated functions that add our services to a server, as Ray Serve imports them."""
    for service in _services():
        module = service.file.name.removesuffix(".proto").replace("/", ".")
        yield f"{module}_pb2_grpc.add_{service.name}Servicer_to_server"


def role_of(path: str, request: bytes = b"") -> str:
    """Tell whose call this is: the service with a model that answers it, or none where the front does."""
    service = path.split("/")[1]
    if service == HEALTH:
        service = health_pb2.HealthCheckRequest.FromString(request).service.removeprefix("model:")
    name = service.removeprefix("charter.v1.").removesuffix("Service").lower()
    role = {"critic": "critique", "judge": "critique"}.get(name, name)
    return role if role in WITH_MODEL else ""


async def ask(channel: grpc.aio.Channel, path: str, request: bytes, metadata: Metadata) -> AsyncIterator[Answer]:
    """Make a call, and yield what comes back; how it failed is the last answer. Leaving the loop cancels it.

    On the wire a method that answers once is one that answers many times and does so once.
    """
    call = channel.unary_stream(path)(request, metadata=passed_on(metadata))
    try:
        async for data in call:
            yield Answer(data)
    except grpc.aio.AioRpcError as error:
        yield failure(error)
    finally:
        call.cancel()


def failure(error: grpc.aio.AioRpcError) -> Answer:
    """Write down how a call failed."""
    trailing = tuple((key, value) for key, value in error.trailing_metadata())
    return Answer(code=error.code().value[0], details=error.details() or "", trailing=trailing)


def passed_on(metadata: Metadata) -> list[tuple[str, str | bytes]]:
    """Return a caller's metadata without what belongs to the connection that it came by."""
    return [(key, value) for key, value in metadata if not key.startswith(("grpc-", ":")) and key != "user-agent"]


def _services() -> Iterator[ServiceDescriptor]:
    for file in FILES:
        services: Any = file.DESCRIPTOR.services_by_name
        yield from services.values()
