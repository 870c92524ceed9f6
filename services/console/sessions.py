"""Who is signed in: a browser holds a number drawn at its sign-in, and the console the token that it stands for.

So a token, which lives for months, is in no browser, and signing out ends what that browser could do with it. Sessions
are kept in memory: who restarts the console signs everybody out.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from typing import NamedTuple

IDLE_SECONDS = 12 * 3600.0
"""After which a session that nobody used is over."""
LONGEST_SECONDS = 7 * 24 * 3600.0
"""After which it is over however much it is used."""
MOST = 10_000
"""Sessions at a time; beyond that, the one that has not been used for longest goes."""


class _Session(NamedTuple):
    token: str
    begun: float
    used: float


class Sessions:
    def __init__(self) -> None:
        self._open: OrderedDict[str, _Session] = OrderedDict()

    def begin(self, token: str) -> str:
        """Begin a session, and return its number: 32 random bytes."""
        number, now = secrets.token_urlsafe(32), time.monotonic()
        self._open[number] = _Session(token, now, now)
        if len(self._open) > MOST:
            self._open.popitem(last=False)
        return number

    def token(self, number: str) -> str | None:
        """Return what a session stands for; None where it is over, or there never was one."""
        found = self._open.get(number)
        if found is None or not self.is_open(number):
            self.end(number)
            return None
        self._open[number] = found._replace(used=time.monotonic())
        self._open.move_to_end(number)
        return found.token

    def is_open(self, number: str) -> bool:
        """Tell whether a session has begun and is not over, without using it."""
        found, now = self._open.get(number), time.monotonic()
        return found is not None and now - found.used <= IDLE_SECONDS and now - found.begun <= LONGEST_SECONDS

    def end(self, number: str) -> None:
        self._open.pop(number, None)
