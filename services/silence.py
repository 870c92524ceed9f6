"""A server that says nothing any more, though its connection stands: one that froze, or whose stream got lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

from rlhf_core.errors import Unavailable

LOOKS = 10
"""How often the time of silence that is allowed is looked at while it passes."""


class Watchdog:
    """Hands on a stream's answers, and cancels it when the next one takes longer than `seconds`.

    Time that the reader spends between two answers does not count.
    """

    def __init__(self, answers: Any, seconds: float):
        self._answers, self._seconds = answers, seconds
        self._asked_at: float | None = None
        self._silent = False
        self._over = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        """Raises Unavailable for a silence, and whatever the stream itself raises."""
        threading.Thread(target=self._watch, name="silence", daemon=True).start()
        try:
            while True:
                self._asked_at = time.monotonic()
                try:
                    answer = next(self._answers)
                except StopIteration:
                    return
                self._asked_at = None
                yield answer
        except Exception:
            if self._silent:
                raise Unavailable(f"the server has said nothing for {self._seconds:g} s") from None
            raise
        finally:
            self._over.set()

    def _watch(self) -> None:
        while not self._over.wait(self._seconds / LOOKS):
            asked_at = self._asked_at
            if asked_at is not None and time.monotonic() - asked_at > self._seconds:
                self._silent = True
                self._answers.cancel()
                return
