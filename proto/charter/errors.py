"""What Charter's clients raise. All are CharterError; `InvalidInput.field` names what was wrong with a request."""

from rlhf_core.errors import (
    CharterError,
    Conflict,
    Exhausted,
    Forbidden,
    GatesNotPassed,
    InvalidInput,
    Loading,
    NotFound,
    NoWorker,
    RequestReused,
    Stale,
    TooLong,
    Unauthenticated,
    Unavailable,
)

__all__ = [
    "CharterError",
    "Conflict",
    "Exhausted",
    "Forbidden",
    "GatesNotPassed",
    "InvalidInput",
    "Loading",
    "NoWorker",
    "NotFound",
    "RequestReused",
    "Stale",
    "TooLong",
    "Unauthenticated",
    "Unavailable",
]
