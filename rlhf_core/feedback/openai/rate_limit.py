"""A pace that an account's limits allow, and how long to wait before another try."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second try, and at most before any other."""


class Pace:
    """Spreads requests evenly, so that no minute sees more of them, or of their tokens, than allowed.

    Safe to share between threads. Times are seconds of a monotonic clock.
    """

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None):
        self._per_request = 60 / requests_per_minute if requests_per_minute else 0.0
        self._per_token = 60 / tokens_per_minute if tokens_per_minute else 0.0
        self._next_request = self._next_token = 0.0
        self._lock = threading.Lock()

    def reserve(self, tokens: int, now: float | None = None) -> float:
        """Reserve the next place for a request of that many tokens; return the seconds to wait before it is sent."""
        now = time.monotonic() if now is None else now
        with self._lock:
            start = max(now, self._next_request, self._next_token)
            self._next_request = start + self._per_request
            self._next_token = start + tokens * self._per_token
            return start - now

    def correct(self, tokens: int) -> None:
        """Add the tokens that a request took beyond those reserved; a negative number gives some back."""
        with self._lock:
            self._next_token += tokens * self._per_token


def wait_before(retry: int, retry_after: str | None = None, now: datetime | None = None) -> float:
    """Return the seconds before the retry of that number, from 1.

    They are what Retry-After asks for, else exponential with jitter.

    Half of the wait is fixed, half is drawn, so that clients that failed together do not come back together.
    """
    asked = _seconds(retry_after, now or datetime.now(UTC)) if retry_after else None
    if asked is not None:
        return asked
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (retry - 1))
    return longest / 2 + random.uniform(0, longest / 2)


def _seconds(retry_after: str, now: datetime) -> float | None:
    """Of a header that is a number of seconds or an HTTP date; None where it is neither."""
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - now).total_seconds())
    except (ValueError, TypeError):
        return None
