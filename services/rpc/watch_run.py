"""A run's history as a stream: what has happened, then what happens, with heartbeats in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from charter.v1 import trainer_pb2

from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.records.runs import Run, RunEvent
from rlhf_core.store.store import Store
from services.security.callers import check_right
from services.serving.executor import Executor
from services.wire.resource_names import run_of
from services.wire.stored_records import event_to_message, run_to_message

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")
POLL_SECONDS = 0.2
HEARTBEAT_SECONDS, MIN_HEARTBEAT, MAX_HEARTBEAT = 15.0, 1.0, 3600.0
EVENTS = 500
"""Events read at once: a page far below the limit of memory and message."""

Answer = trainer_pb2.WatchRunResponse


class RunWatch:
    """One caller that looks on."""

    def __init__(self, store: Store, io: Executor, draining: asyncio.Event, request: trainer_pb2.WatchRunRequest):
        """Raises InvalidInput for a request that makes no sense."""
        self._store, self._io, self._draining = store, io, draining
        self._run_id = run_of(request)
        self._sequence = request.after_sequence
        self._through_pauses = request.through_pauses
        self._interval = _interval(request)
        if self._sequence < 0:
            raise InvalidInput(f"after_sequence: {self._sequence}; allowed: 0 and up", "after_sequence")

    async def answers(self) -> AsyncIterator[Answer]:
        """Yield each event once; the last answer holds the run as it ended, or as it was paused.

        Raises:
            Unavailable: the server stops; the caller watches on from its last sequence.
            Unauthenticated: the caller's token is taken away, or its day is over.
        """
        await self._io.run(self._check_beginning)
        beat, paused = time.monotonic(), False
        while True:
            check_right()
            # The run first: a state that is final before the events are read has no event after them.
            run, events = await self._io.run(self._look)
            for event in events:
                self._sequence, beat = event.sequence, time.monotonic()
                yield Answer(event=event_to_message(event))
            if not events and (run.state in ENDED or (run.state == "PAUSED" and not self._through_pauses)):
                yield _standing(run)
                return
            if self._draining.is_set():
                raise Unavailable("the server is stopping", hint="watch on from the last sequence when it is back")
            newly = not events and run.state == "PAUSED" and not paused
            paused = run.state == "PAUSED" and (paused or newly)
            if newly or time.monotonic() - beat >= self._interval:
                beat = time.monotonic()
                yield _standing(run)
            await asyncio.sleep(0 if events else POLL_SECONDS)

    def _look(self) -> tuple[Run, list[RunEvent]]:
        run = self._store.runs.get(self._run_id)
        return run, self._store.events.of_run(self._run_id, self._sequence, EVENTS)

    def _check_beginning(self) -> None:
        """A sequence that the run has not reached is of another run: nothing would ever come after it."""
        self._run_id = self._store.runs.find(self._run_id).id
        if self._sequence and not self._store.events.of_run(self._run_id, self._sequence - 1, 1):
            raise InvalidInput(
                f"after_sequence: run '{self._run_id}' has no event {self._sequence}",
                "after_sequence",
                hint="watch from 0, or from the last sequence that this run sent",
            )


def _standing(run: Run) -> Answer:
    return Answer(run=run_to_message(run))


def _interval(request: trainer_pb2.WatchRunRequest) -> float:
    if not request.HasField("heartbeat_interval"):
        return HEARTBEAT_SECONDS
    seconds = request.heartbeat_interval.seconds + request.heartbeat_interval.nanos / 1e9
    if not MIN_HEARTBEAT <= seconds <= MAX_HEARTBEAT:
        raise InvalidInput(
            f"heartbeat_interval: {seconds:g} s; allowed: {MIN_HEARTBEAT:g} s to {MAX_HEARTBEAT:g} s",
            "heartbeat_interval",
        )
    return seconds
