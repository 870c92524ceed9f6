"""Charter's errors on the wire: one table, used by the server to send them and by the client to raise them again.

Every error carries `ErrorInfo`; with it `BadRequest` names the fields at fault, `RetryInfo` says when to try again,
and `LocalizedMessage` holds the hint on what to do.
"""

from __future__ import annotations

import re
from typing import NamedTuple, cast

import grpc
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from rlhf_core.errors import (
    CharterError,
    Conflict,
    Exhausted,
    Forbidden,
    GatesNotPassed,
    Interrupted,
    InvalidInput,
    LeaseLost,
    Loading,
    NotFound,
    NoWorker,
    RequestReused,
    Stale,
    TrainingFailed,
    Unauthenticated,
    Unavailable,
    Violation,
)

DOMAIN = "charter.v1"
INTERNAL = "INTERNAL"
LOCALE = "en"
MAX_MESSAGE, MAX_DETAIL, MAX_VIOLATIONS = 5000, 500, 5
"""Bytes of trailers for the message and for each detail: a status must fit into the 8 KiB that HTTP/2 peers take."""


class Kind(NamedTuple):
    """One row of the table; `reason` is the stable name of the error in `ErrorInfo`."""

    error: type[CharterError]
    code: grpc.StatusCode
    reason: str


KINDS = (
    Kind(Unauthenticated, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED"),
    Kind(Forbidden, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"),
    Kind(InvalidInput, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT"),
    Kind(NotFound, grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
    Kind(RequestReused, grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    Kind(GatesNotPassed, grpc.StatusCode.FAILED_PRECONDITION, "GATES_NOT_PASSED"),
    Kind(NoWorker, grpc.StatusCode.FAILED_PRECONDITION, "NO_WORKER"),
    Kind(Stale, grpc.StatusCode.ABORTED, "STALE_ETAG"),
    Kind(Conflict, grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT"),
    Kind(Exhausted, grpc.StatusCode.RESOURCE_EXHAUSTED, "EXHAUSTED"),
    Kind(Interrupted, grpc.StatusCode.UNAVAILABLE, "INTERRUPTED"),
    Kind(Loading, grpc.StatusCode.UNAVAILABLE, "LOADING"),
    Kind(Unavailable, grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE"),
    Kind(TrainingFailed, grpc.StatusCode.FAILED_PRECONDITION, "TRAINING_FAILED"),
    Kind(LeaseLost, grpc.StatusCode.ABORTED, "LEASE_LOST"),
    Kind(CharterError, grpc.StatusCode.FAILED_PRECONDITION, "FAILED"),
)
"""A kind stands before those that it is a case of."""

UNNAMED = {
    grpc.StatusCode.UNAVAILABLE: "no server answers at {address}; is `charter serve` running there?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "{address} did not answer in time",
    grpc.StatusCode.CANCELLED: "the call to {address} was cancelled",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "{address} cannot take this call now: {text}",
    grpc.StatusCode.UNIMPLEMENTED: "{address} does not offer this service",
}
"""Errors that gRPC itself raises, without our details."""


def kind_of(error: CharterError) -> Kind:
    """Return the row of the table that an error belongs to."""
    return next(kind for kind in KINDS if isinstance(error, kind.error))


def status_of(error: CharterError) -> grpc.Status:
    """Return the error as a status with its details."""
    kind = kind_of(error)
    details: list[Message] = []
    if isinstance(error, InvalidInput) and error.violations:
        details.append(_bad_request(error.violations[:MAX_VIOLATIONS]))
    if isinstance(error, Unavailable):
        nanos = round(error.retry_seconds * 1e9)
        delay = Duration(seconds=nanos // 10**9, nanos=nanos % 10**9)
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    if error.hint:
        hint = error_details_pb2.LocalizedMessage(locale=LOCALE, message=_cut(error.hint, MAX_DETAIL))
        details.append(hint)
    return _status(kind.code, kind.reason, error.message, details)


def internal_status(text: str) -> grpc.Status:
    """Report a mistake of ours: the text holds the id under which the log has the traceback."""
    return _status(grpc.StatusCode.INTERNAL, INTERNAL, text, [])


def unimplemented_status(method: str) -> grpc.Status:
    """Say that this server, which may offer only some of the services, has no such method."""
    hint = error_details_pb2.LocalizedMessage(
        locale=LOCALE, message="ServerService.GetInfo names the services that are offered here"
    )
    text = f"this server does not offer {method.strip('/')}"
    return _status(grpc.StatusCode.UNIMPLEMENTED, "NO_SUCH_METHOD", text, [hint])


def error_from_call(error: grpc.RpcError, address: str) -> CharterError:
    """Rebuild the error that the server raised, as the same class with its field and hint.

    Its text is one readable line.
    """
    call = cast(grpc.Call, error)
    status = rpc_status.from_call(call)
    if status is None or call.code() == grpc.StatusCode.UNIMPLEMENTED:
        return _unnamed(call, address)
    info, request = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    retry, said = error_details_pb2.RetryInfo(), error_details_pb2.LocalizedMessage()
    for detail in status.details:
        for known in (info, request, retry, said):
            detail.Unpack(known)
    kind = _kind(info.reason, call.code())
    if issubclass(kind, InvalidInput):
        violations = [Violation(v.field, v.description) for v in request.field_violations]
        field = violations[0].field if violations else ""
        return kind(_naming(field, status.message), field, hint=said.message, violations=violations)
    if issubclass(kind, Unavailable):
        seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        return kind(status.message, hint=said.message, retry_seconds=seconds)
    return kind(status.message, hint=said.message)


def _kind(reason: str, code: grpc.StatusCode) -> type[CharterError]:
    """By its reason; one that only a newer server knows by its code."""
    named = next((kind.error for kind in KINDS if kind.reason == reason), None)
    return named or next((kind.error for kind in reversed(KINDS) if kind.code == code), CharterError)


def _naming(field: str, message: str) -> str:
    """The message, led by the path of the value at fault where it speaks of something else."""
    root = re.split(r"[.\[]", field)[0]
    return message if root in message else f"{field}: {message}"


def _unnamed(call: grpc.Call, address: str) -> CharterError:
    code, text = call.code(), call.details() or ""
    if code == grpc.StatusCode.UNAUTHENTICATED:
        return InvalidInput(f"{address} refuses the token: {text}", "token")
    if code in UNNAMED:
        return Unavailable(UNNAMED[code].format(address=address, text=text))
    return CharterError(f"{address} answered {code.name}: {text}")


def _bad_request(violations: tuple[Violation, ...]) -> error_details_pb2.BadRequest:
    share = MAX_DETAIL // len(violations)
    return error_details_pb2.BadRequest(
        field_violations=[
            error_details_pb2.BadRequest.FieldViolation(
                field=_cut(violation.field, MAX_DETAIL // 4), description=_cut(violation.message, share)
            )
            for violation in violations
        ]
    )


def _status(code: grpc.StatusCode, reason: str, message: str, details: list[Message]) -> grpc.Status:
    info = error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN)
    packed = [Any() for _ in (info, *details)]
    for place, detail in zip(packed, (info, *details), strict=True):
        place.Pack(detail)
    text = _cut(message, MAX_MESSAGE)
    return rpc_status.to_status(status_pb2.Status(code=code.value[0], message=text, details=packed))


def _cut(text: str, limit: int) -> str:
    """The text, cut where its bytes in the trailers reach the limit."""
    text = text.encode("utf-8", "backslashreplace").decode()
    spent = 0
    for place, character in enumerate(text):
        spent += _cost(character)
        if spent > limit:
            return text[:place] + " ..."
    return text


def _cost(character: str) -> float:
    """Bytes of a character in the trailers: percent-encoded in `grpc-message`, base64 in the details."""
    size = len(character.encode())
    return (1 if " " <= character <= "~" and character != "%" else 3 * size) + size * 4 / 3
