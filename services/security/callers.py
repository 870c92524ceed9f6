"""Who calls, by the token that a call carries, for methods that keep or tell it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar

from services.security.scopes import SCOPES
from services.security.tokens import Caller

RECHECK_SECONDS = 1.0
"""How long a call that lasts may go on by a token that was taken away."""
EVERYBODY = Caller("", SCOPES)
"""Whoever calls where calls carry no token."""
CALLER: ContextVar[Caller] = ContextVar("caller", default=EVERYBODY)
"""Set for the length of a call."""


class Right:
    """What lets a call in, looked at again while the call lasts, since a token may be taken away meanwhile."""

    def __init__(self, look: Callable[[], object]):
        """`look` raises what a new call would be told."""
        self._look = look
        self._looked_at = time.monotonic()

    def check(self) -> None:
        """Raise Unauthenticated or Forbidden where the call would not be let in now; looks every so often alone."""
        if (now := time.monotonic()) - self._looked_at >= RECHECK_SECONDS:
            self._looked_at = now
            self._look()


RIGHT: ContextVar[Right | None] = ContextVar("right", default=None)
"""Set for the length of a call that answers many times; None where none is asked for."""


def check_right() -> None:
    """Raise as `Right.check` does, in a call that may be silent for long."""
    if right := RIGHT.get():
        right.check()
