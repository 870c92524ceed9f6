"""Charter's errors on the wire: one table, used by the server to send them and by the client to raise them again."""

from __future__ import annotations

from typing import NamedTuple

import grpc
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rlhf_core.errors import (
    CharterError,
    Conflict,
    InvalidInput,
    LeaseLost,
    NotFound,
    TrainingFailed,
    Unavailable,
)

DOMAIN = "charter.v1"
INTERNAL = "INTERNAL"
MAX_TEXT = 4000
"""Characters of a message: the whole status must fit into the 8 KiB that HTTP/2 peers take as trailers."""


class Kind(NamedTuple):
    """One row of the table; `reason` is the stable name of the error in `ErrorInfo`."""

    error: type[CharterError]
    code: grpc.StatusCode
    reason: str


KINDS = (
    Kind(InvalidInput, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    Kind(NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    Kind(Conflict, grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT"),
    Kind(Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    Kind(TrainingFailed, grpc.StatusCode.FAILED_PRECONDITION, "TRAINING_FAILED"),
    Kind(LeaseLost, grpc.StatusCode.ABORTED, "LEASE_LOST"),
    Kind(CharterError, grpc.StatusCode.FAILED_PRECONDITION, "FAILED"),
)

UNNAMED = {
    grpc.StatusCode.UNAVAILABLE: "no server answers at {address}; is `charter serve` running there?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "{address} did not answer in time",
    grpc.StatusCode.CANCELLED: "the call to {address} was cancelled",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "{address} cannot take this call now: {text}",
    grpc.StatusCode.UNIMPLEMENTED: "{address} does not offer this service",
}
"""Errors that gRPC itself raises, without our details."""


def status_of(error: CharterError) -> grpc.Status:
    """The error as a status with `ErrorInfo`, and `BadRequest` where a field is at fault."""
    kind = next(kind for kind in KINDS if isinstance(error, kind.error))
    field = error.field if isinstance(error, InvalidInput) else ""
    return _status(kind.code, kind.reason, str(error), field)


def internal_status(incident: str) -> grpc.Status:
    """A mistake of ours: the caller gets the id under which the log has the traceback."""
    text = f"internal error {incident}; the server's log has the details under this id"
    return _status(grpc.StatusCode.INTERNAL, INTERNAL, text, "")


def error_from_call(error: grpc.RpcError, address: str) -> CharterError:
    """The error that the server raised, as the same class with its field."""
    call: grpc.Call = error  # pyright: ignore[reportAssignmentType]
    status = rpc_status.from_call(call)
    if status is None:
        return _unnamed(call, address)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(request)
    kind = next((kind.error for kind in KINDS if kind.reason == info.reason), CharterError)
    if kind is InvalidInput:
        return InvalidInput(status.message, next((v.field for v in request.field_violations), ""))
    return kind(status.message)


def _unnamed(call: grpc.Call, address: str) -> CharterError:
    code, text = call.code(), call.details() or ""
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return InvalidInput(f"{address} refuses the token: {text}", "token")
    if code in UNNAMED:
        return Unavailable(UNNAMED[code].format(address=address, text=text))
    return CharterError(f"{address} answered {code.name}: {text}")


def _status(code: grpc.StatusCode, reason: str, message: str, field: str) -> grpc.Status:
    text = message if len(message) <= MAX_TEXT else message[:MAX_TEXT] + " ..."
    details = [Any(), Any()] if field else [Any()]
    details[0].Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    if field:
        violation = error_details_pb2.BadRequest.FieldViolation(field=field, description=text[:200])
        details[1].Pack(error_details_pb2.BadRequest(field_violations=[violation]))
    return rpc_status.to_status(status_pb2.Status(code=code.value[0], message=text, details=details))
