"""Passes a run's metrics on to trackers, on a thread of its own: whatever becomes of them there, the run goes on."""

from __future__ import annotations

import json
import logging
import queue
import threading
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from rlhf_core.config.run import RunConfig
from rlhf_core.config.tracking import TrackerName
from rlhf_core.records.base import RunState
from rlhf_core.records.runs import Run, StepMetrics
from services.telemetry.trackers import TRACKERS, TrackedRun, Tracker

log = logging.getLogger("charter.tracking")

WAITING = 2000
"""Steps that wait for slow trackers, at most; later ones are left out, and counted."""
PATIENCE_SECONDS = 10.0
"""How long the end of a run waits for its trackers."""


def tracking_of(run: Run, runs_folder: Path) -> Tracking:
    """Open the trackers that the run's configuration names.

    There are none where it cannot be read, which the run itself will say.
    """
    try:
        config = RunConfig.stored(run.config)
    except ValidationError:
        return Tracking(TrackedRun(run.id, run.id, "", {}, runs_folder), ())
    name, told = run.display_name or run.id, json.loads(run.config)
    return Tracking(TrackedRun(run.id, name, config.tracking.project, told, runs_folder / run.id), config.tracking.to)


class Tracking:
    """A run's trackers. One that fails is closed for good, and what became of it is told once."""

    def __init__(self, run: TrackedRun, names: Iterable[TrackerName]):
        self._run, self._open = run, list(names)
        self._steps: queue.Queue[StepMetrics | RunState] = queue.Queue(WAITING)
        self._troubles: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
        if self._open:
            self._thread.start()

    def log(self, metrics: StepMetrics) -> None:
        """Hand a step over; never waits."""
        if self._open:
            try:
                self._steps.put_nowait(metrics)
            except queue.Full:
                self._left_out += 1

    def close(self, state: RunState) -> None:
        """Hand over how the run stands now, and wait a little for the trackers."""
        if not self._thread.is_alive():
            return
        try:
            self._steps.put(state, timeout=PATIENCE_SECONDS)
            self._thread.join(PATIENCE_SECONDS)
        except queue.Full:
            pass
        if self._thread.is_alive():
            self._troubles.put(f"trackers {', '.join(self._open)} did not end in {PATIENCE_SECONDS:g} s; left alone")
        if self._left_out:
            self._troubles.put(f"trackers are slow: {self._left_out} steps were not passed on")

    def troubles(self) -> list[str]:
        """Return what went wrong since this was last asked."""
        return [self._troubles.get() for _ in range(self._troubles.qsize())]

    def _work(self) -> None:
        trackers: dict[TrackerName, Tracker] = {}
        for name in list(self._open):
            self._try(name, partial(self._begin, trackers, name))
        while self._open:
            step = self._steps.get()
            for name in list(self._open):
                own = trackers[name]
                self._try(name, partial(own.log, step) if isinstance(step, StepMetrics) else partial(own.close, step))
            if not isinstance(step, StepMetrics):
                return

    def _begin(self, trackers: dict[TrackerName, Tracker], name: TrackerName) -> None:
        trackers[name] = TRACKERS[name](self._run)

    def _try(self, name: TrackerName, act: Callable[[], None]) -> None:
        try:
            act()
        except (Exception, SystemExit) as error:
            self._open.remove(name)
            why = f"pip install {name}" if isinstance(error, ModuleNotFoundError) else str(error).partition("\n")[0]
            self._troubles.put(f"tracker {name} is left alone: {type(error).__name__}: {why}"[:300])
            log.warning("tracker %s of run %s failed", name, self._run.id, exc_info=error)
