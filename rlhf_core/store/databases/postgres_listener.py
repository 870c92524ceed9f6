"""The thread that hears from PostgreSQL that a run has been queued."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg import sql

from rlhf_core.store.databases.postgres_sql import channel

LOOK_SECONDS = 0.5
"""How long it takes to close at most."""
AGAIN_SECONDS = 1.0
"""Between two attempts to reach a server that is gone."""


class Listener:
    """Calls everybody who was added when a run is queued, and after each time that it could not hear."""

    def __init__(self, connect: Callable[[], psycopg.Connection[Any]], schema: str):
        self._connect, self._channel = connect, channel(schema)
        self._wakes: list[Callable[[], None]] = []
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="store-listener", daemon=True)
        self._thread.start()

    def add(self, wake: Callable[[], None]) -> None:
        self._wakes.append(wake)

    def close(self) -> None:
        self._closing.set()
        self._thread.join()

    def _listen(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(psycopg.Error):
                self._hear()
            self._closing.wait(AGAIN_SECONDS)

    def _hear(self) -> None:
        """Until it is closed; raises psycopg.Error when the server is gone."""
        with self._connect() as session:
            session.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            self._wake()
            while not self._closing.is_set():
                if list(session.notifies(timeout=LOOK_SECONDS, stop_after=1)):
                    self._wake()

    def _wake(self) -> None:
        for wake in list(self._wakes):
            wake()
