"""The mistakes that Charter names. Each is also the built-in kind that a caller would expect to catch."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

MAX_COMPARED, MAX_NAMED = 100, 40
"""Known words that a suggestion is looked for among, and that it lists."""


class CharterError(Exception):
    """Base of every error that is reported to a user as one line, without a traceback.

    `message` says what is wrong, `hint` what to do next where the message does not; the error's text is both.
    """

    def __init__(self, message: str = "", *, hint: str = ""):
        super().__init__(f"{message}; {hint}" if hint else message)
        self.message = message
        self.hint = hint


class Violation(NamedTuple):
    """One value at fault, by its dotted path."""

    field: str
    message: str


class InvalidInput(CharterError, ValueError):
    """The user's input is wrong. `field` is the dotted path of the value at fault, where there is one.

    `violations` are all of them where several were found; the first is what the message speaks of.
    """

    def __init__(self, message: str, field: str = "", *, hint: str = "", violations: Sequence[Violation] = ()):
        super().__init__(message, hint=hint)
        self.field = field
        self.violations = tuple(violations) or ((Violation(field, message),) if field else ())


class TooLong(InvalidInput):
    """A text has more tokens than the model reads."""


class Unauthenticated(InvalidInput):
    """The call carries no token, or one that the server does not take."""


class Forbidden(InvalidInput):
    """The token does not allow this call."""


class NotFound(CharterError, LookupError):
    """The thing asked for does not exist."""


class Conflict(CharterError):
    """The thing exists already with other content, or its state does not allow the request."""


class GatesNotPassed(Conflict):
    """A judge that taught the policy has not passed its gate, and nobody has said to go on all the same."""


class NoWorker(Conflict):
    """Nobody would carry out what is asked for."""


class RequestReused(Conflict):
    """The request id was used before, for a request with other content."""


class Stale(Conflict):
    """The thing has changed since its etag was read; read it again and decide anew."""


class Unavailable(CharterError, ConnectionError):
    """A service, a model or the disk cannot be used now; the same call may work after `retry_seconds`."""

    def __init__(self, message: str = "", *, hint: str = "", retry_seconds: float = 1.0):
        super().__init__(message, hint=hint)
        self.retry_seconds = retry_seconds


class Loading(Unavailable):
    """The server is there, and what the call needs is not ready yet."""


class Interrupted(Unavailable):
    """The store took a transaction back, or cannot be reached; nothing is half written, and it may be done again."""


class Exhausted(Unavailable):
    """A queue or a quota is full; the same call may work after `retry_seconds`."""


class TrainingFailed(CharterError, RuntimeError):
    """Training cannot go on (a non-finite loss, no usable preferences); what was stored stays."""


class LeaseLost(CharterError):
    """Another worker holds this run now; nothing more may be written for it from here."""


def suggestion(word: str, known: Sequence[str], named: int = MAX_NAMED) -> str:
    """Return `did you mean "x"? known: ...`, the question only where one of the known words is near.

    Of very many words only the first are compared, and at most so many named: a hostile file may hold thousands.
    """
    near = difflib.get_close_matches(word[:80], known[:MAX_COMPARED], n=1)
    question = f'did you mean "{near[0]}"? ' if near else ""
    more = f", and {len(known) - named} more" if len(known) > named else ""
    return f"{question}known: {', '.join(known[:named])}{more}"
