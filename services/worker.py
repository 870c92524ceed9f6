"""Takes queued runs from the store and carries them out, one at a time; a killed worker's run is taken up again."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from rlhf_core.errors import CharterError, Interrupted, LeaseLost
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import Run, StepMetrics
from rlhf_core.stages.context import RunStopped, Toolbox
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.telemetry import logs, metrics
from services.telemetry.tracking import Tracking, tracking_of
from services.wire.refusals import invalid_input

log = logging.getLogger("charter.worker")

Pipeline = Callable[[Run, Store, Toolbox, Callable[[str, str], None], Callable[[], bool]], None]
Equip = Callable[[Run, Callable[[], bool]], Toolbox]
LEASE_SECONDS = 30.0
HEARTBEAT_SECONDS = 5.0
PRESENCE_SECONDS = 15.0
"""Between two signs of a worker that it is there, with or without a run."""
IDLE_SECONDS = 0.5
"""Between two looks for a run."""
TOLD_IDLE_SECONDS = 5.0
"""The same where the store tells of queued runs, and only those that have lost their worker are looked for."""

T = TypeVar("T")


class Worker:
    """One thread works, one keeps the lease alive however long a step takes, one says that the worker is there."""

    def __init__(self, store: Store, pipeline: Pipeline, tools: Equip, clean_up: Callable[[], None], runs_folder: Path):
        """`tools` equips one run, which may ask whether it should stop; `clean_up` frees what it leaves in memory."""
        self._store, self._pipeline, self._tools, self._clean_up = store, pipeline, tools, clean_up
        self._runs_folder = runs_folder
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._lost = threading.Event()
        self._thread = threading.Thread(target=self._work, name="worker", daemon=True)
        self._presence = threading.Thread(target=self._be_present, name="presence", daemon=True)

    def start(self) -> None:
        self._store.workers.sign_in(this_process())
        self._idle_seconds = TOLD_IDLE_SECONDS if self._store.runs.on_queued(self._wake.set) else IDLE_SECONDS
        self._thread.start()
        self._presence.start()

    def stop(self, timeout_seconds: float) -> None:
        """Put the run at work back in the queue at its next step."""
        self._stopping.set()
        self._wake.set()
        self._thread.join(timeout_seconds)
        self._presence.join()
        self._store.workers.sign_out(this_process())

    def _be_present(self) -> None:
        while not self._stopping.wait(PRESENCE_SECONDS):
            try:
                self._store.workers.sign_in(this_process())
            except CharterError as error:
                log.warning("sign of the worker: %s", error)

    def _work(self) -> None:
        """Run after run: whatever one of them or the store does, the next one is taken."""
        while True:
            # Before all else, so that no call is missed.
            self._wake.clear()
            if self._stopping.is_set():
                return
            worked = False
            try:
                worked = self._next()
            except LeaseLost as error:
                metrics.LEASES_LOST.inc()
                log.warning("%s", error)
            except CharterError as error:
                log.error("the worker goes on after: %s", error)
            except Exception as error:
                log.error("the worker goes on after a mistake of ours: %s", type(error).__name__, exc_info=error)
            if not worked:
                self._wake.wait(self._idle_seconds)

    def _next(self) -> bool:
        """Carry out the run whose turn it is; False where none waits."""
        run = self._store.runs.claim(this_process(), LEASE_SECONDS)
        if run is None:
            return False
        with logs.concerning(run.id):
            self._carry_out(run)
        return True

    def _carry_out(self, run: Run) -> None:
        self._lost.clear()
        done = threading.Event()
        heart = threading.Thread(target=self._beat, args=(run, done), name="heartbeat", daemon=True)
        heart.start()
        tracking, state = tracking_of(run, self._runs_folder), "QUEUED"
        try:
            state, error = self._outcome(run, tracking)
        finally:
            # A run whose lease is lost is another worker's now, and these trackers are closed all the same.
            tracking.close(state)
            done.set()
            heart.join()
            self._free()
        self._tell(run, tracking)
        self._store.runs.release(run.id, run.fence, state, error)
        log.info("run %s is %s after attempt %d", run.id, state, run.attempt)

    def _free(self) -> None:
        """How a run ended is told although its memory could not be freed."""
        try:
            self._clean_up()
        except Exception as error:
            log.error("what a run left in memory stays: %s", type(error).__name__, exc_info=error)

    def _tell(self, run: Run, tracking: Tracking) -> None:
        """What became of a tracker is a note of the run."""
        for trouble in tracking.troubles():
            with self._store.transaction(run.id, run.fence):
                self._store.events.append(run.id, "note", json.dumps({"text": trouble}))

    def _outcome(self, run: Run, tracking: Tracking) -> tuple[RunState, str]:
        """Where the run stands after this attempt, and why."""

        def should_stop() -> bool:
            return self._should_stop(run)

        try:
            tools = self._tools(run, should_stop)
            self._pipeline(run, self._store, tools, self._reporter(run, tracking), should_stop)
        except LeaseLost:
            raise
        except RunStopped:
            return self._stopped_state(run), ""
        except Interrupted as error:
            # All that it has committed is there, so that it goes on from its last step.
            log.warning("run %s goes back to the queue: %s", run.id, error)
            self._stopping.wait(error.retry_seconds)
            return "QUEUED", ""
        except ValidationError as error:
            return "FAILED", str(invalid_input(error))
        except CharterError as error:
            # A call that is given up for a stop, or refused by a server that is going down, is no failure.
            return (self._stopped_state(run), "") if self._should_stop(run) else ("FAILED", str(error))
        except Exception as error:
            incident = secrets.token_hex(4)
            log.error("internal error %s in run %s", incident, run.id, exc_info=error)
            return "FAILED", f"internal error {incident} ({type(error).__name__}); the server's log has the details"
        return "SUCCEEDED", ""

    def _stopped_state(self, run: Run) -> RunState:
        if self._store.runs.cancel_requested(run.id):
            return "CANCELLED"
        return "PAUSED" if self._store.runs.pause_requested(run.id) else "QUEUED"

    def _should_stop(self, run: Run) -> bool:
        if self._lost.is_set():
            raise LeaseLost(f"run '{run.id}': the lease at fence {run.fence} is lost")
        return self._stopping.is_set() or self._stopped_state(run) != "QUEUED"

    def _reporter(self, run: Run, tracking: Tracking) -> Callable[[str, str], None]:
        """Write an event, and the progress that it tells of, in one commit and only while the lease holds."""

        def report(kind: str, body: str) -> None:
            stage, step, steps = run.stage, 0, 0
            if kind == "metrics":
                done = StepMetrics.model_validate_json(body)
                stage, step, steps = done.stage, done.step, done.steps
                metrics.note_step(done)
                tracking.log(done)
                self._tell(run, tracking)
            elif kind == "stage":
                stage = json.loads(body)["stage"]
            with self._store.transaction(run.id, run.fence):
                self._store.events.append(run.id, kind, body)
                if kind in ("metrics", "stage"):
                    self._store.runs.set_progress(run.id, run.fence, stage, step, steps)

        return report

    def _beat(self, run: Run, done: threading.Event) -> None:
        while not done.wait(HEARTBEAT_SECONDS):
            try:
                held = self._store.runs.heartbeat(run.id, run.fence, LEASE_SECONDS)
            except CharterError as error:
                log.warning("heartbeat of run %s: %s", run.id, error)
                continue
            if not held:
                self._lost.set()
                return
