"""Charter's errors over HTTP: the status, and a body in the shape that OpenAI's clients read."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import NamedTuple

import grpc
from starlette.responses import JSONResponse

from rlhf_core.errors import CharterError, Exhausted, InvalidInput, Unavailable
from services.server.incidents import incident_of, told
from services.wire.status import INTERNAL, kind_of

STATUS = {
    grpc.StatusCode.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    grpc.StatusCode.PERMISSION_DENIED: HTTPStatus.FORBIDDEN,
    grpc.StatusCode.INVALID_ARGUMENT: HTTPStatus.BAD_REQUEST,
    grpc.StatusCode.NOT_FOUND: HTTPStatus.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: HTTPStatus.CONFLICT,
    grpc.StatusCode.ABORTED: HTTPStatus.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: HTTPStatus.CONFLICT,
    # Not 429: clients of reward models take every 4xx for final.
    grpc.StatusCode.RESOURCE_EXHAUSTED: HTTPStatus.SERVICE_UNAVAILABLE,
    grpc.StatusCode.UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
}
TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
    HTTPStatus.INTERNAL_SERVER_ERROR: "server_error",
}
INVALID = "invalid_request_error"
UNSUPPORTED = "unsupported_parameter"
"""The code by which OpenAI's clients know it."""


class TooLarge(InvalidInput):
    """The body is larger than the server takes."""


class TooSlow(InvalidInput):
    """The body did not arrive in time."""


class Unsupported(InvalidInput):
    """A parameter that nothing here carries out."""


class WrongMethod(InvalidInput):
    """The path is there, and is asked in another way."""


OWN = {
    TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    TooSlow: HTTPStatus.REQUEST_TIMEOUT,
    WrongMethod: HTTPStatus.METHOD_NOT_ALLOWED,
}
"""What HTTP has a status for and gRPC has not."""


class Told(NamedTuple):
    """An error as it is told: `code` is the name by which gRPC and the metrics know it."""

    code: str
    response: JSONResponse


def told_of(error: Exception, subject: str = "") -> Told:
    """Answer whoever caused an error; `subject` is the field that it is about where it names none itself."""
    if not isinstance(error, CharterError):
        body = body_of(told(incident_of(error)), HTTPStatus.INTERNAL_SERVER_ERROR, INTERNAL)
        return Told(INTERNAL, JSONResponse(body, HTTPStatus.INTERNAL_SERVER_ERROR))
    kind = kind_of(error)
    status = OWN.get(type(error)) or STATUS[kind.code]
    field = (error.field or subject) if isinstance(error, InvalidInput) else ""
    headers = {"www-authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else {}
    if isinstance(error, Unavailable):
        headers["retry-after"] = str(max(1, math.ceil(error.retry_seconds)))
        headers["retry-after-ms"] = str(round(1000 * error.retry_seconds))
    # What names the field where the words do not.
    text = str(error) if not field or field.partition("[")[0] in str(error) else f"{field}: {error}"
    name = "RESOURCE_EXHAUSTED" if isinstance(error, Exhausted) else kind.code.name
    reason = UNSUPPORTED if isinstance(error, Unsupported) else kind.reason
    return Told(name, JSONResponse(body_of(text, status, reason, field), status, headers))


def body_of(message: str, status: HTTPStatus, reason: str, field: str = "") -> dict[str, dict[str, str | None]]:
    """Write {"error": {"message", "type", "param", "code"}}."""
    return {"error": {"message": message, "type": TYPES.get(status, INVALID), "param": field or None, "code": reason}}
