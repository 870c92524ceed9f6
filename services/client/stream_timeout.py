"""A server that says nothing any more: one that froze behind a standing connection, or whose stream got lost."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import Any, NamedTuple

from rlhf_core.errors import Unavailable

ROOM = 64
"""Answers that wait for their reader."""
LOOK_SECONDS = 0.5
"""How often an answer that finds no room asks whether its reader has left."""


class _Heard(NamedTuple):
    """An answer, or how the stream ended."""

    answer: Any
    over: bool = False
    error: Exception | None = None


def unless_silent(answers: Any, seconds: float) -> Generator[Any, None, None]:
    """Return a stream's answers; time that the reader spends between two of them does not count.

    A thread of its own listens, as gRPC may leave the one that listens waiting for ever: a call that had ended while it
    was being tried again did so.

    Raises Unavailable when the next answer takes longer than `seconds`, and whatever the stream itself raises.
    """
    heard: Queue[_Heard] = Queue(ROOM)
    left = threading.Event()
    threading.Thread(target=_listen, args=(answers, heard, left), name="listener", daemon=True).start()
    try:
        while True:
            try:
                found = heard.get(timeout=seconds)
            except Empty:
                raise Unavailable(f"the server has said nothing for {seconds:g} s") from None
            if found.error is not None:
                raise found.error
            if found.over:
                return
            yield found.answer
    finally:
        left.set()


def _listen(answers: Any, heard: Queue[_Heard], left: threading.Event) -> None:
    def tell(found: _Heard) -> None:
        while not left.is_set():
            with suppress(Full):
                return heard.put(found, timeout=LOOK_SECONDS)

    try:
        for answer in answers:
            tell(_Heard(answer))
        tell(_Heard(None, over=True))
    except Exception as error:
        tell(_Heard(None, error=error))
