"""A run as it happens: a live picture on a terminal, plain lines anywhere else."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from queue import Empty, Queue

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from rlhf_core.records.base import STAGE_TITLES, STAGES
from rlhf_core.records.runs import RunEvent, StepMetrics

SHOWN = ("reward", "score", "kl", "gold", "accuracy", "loss")
"""The metrics that are shown, in this order; `score` stands for `score.helpful` and its like too."""
PACE_WINDOW = 20
BAR_WIDTH = 32
SILENCE_SECONDS = 8.0
"""After which a log is told that the run is still at work: a stage may take a minute for one piece."""
COLUMNS = {
    "weight": "weight",
    "z": "score, z",
    "reward": "reward",
    "advantage_share": "pull",
    "explained_variance": "critic",
    "clipped": "clipped",
    "auditor_z": "auditor, z",
    "gap": "gap",
}
"""Metric -> title. pull: its share of the advantage; critic: explained variance; gap: held-out z less the auditor's."""
SHARES = ("advantage_share", "clipped")
KL = "kl"


class RunView:
    """What is known of a run from its events; prints itself as the picture."""

    def __init__(self, stages: Iterable[str] = STAGES, clock: Callable[[], float] = time.monotonic):
        self._stages = tuple(stages)
        self._clock = clock
        self._began = clock()
        self.state = "QUEUED"
        self.error = ""
        self.seconds: dict[str, float] = {}
        """Seconds of each finished stage."""
        self.stage = ""
        """The stage at work."""
        self.metrics: StepMetrics | None = None
        """Its last step, None before the first."""
        self.note = ""
        self._pace: deque[tuple[datetime, int]] = deque(maxlen=PACE_WINDOW)
        self._spinner = Spinner("dots")

    def update(self, event: RunEvent) -> list[str]:
        """Take one event in; return the plain lines that it is worth."""
        body = json.loads(event.body)
        if event.kind == "metrics":
            return self._step(StepMetrics.model_validate(body), event.created_at)
        if event.kind == "stage":
            return self._stage(body)
        if event.kind == "state":
            self._pace.clear()
            self.state, self.error = body.get("state", self.state), body.get("error", "")
            return [f"run {event.run_id}: {self.state.lower()}" + (f": {self.error}" if self.error else "")]
        self.note = str(body.get("text", ""))
        return [f"  {self.note}"] if self.note else []

    def _step(self, metrics: StepMetrics, when: str) -> list[str]:
        """One line per tenth of a stage."""
        if metrics.stage != self.stage:
            self._begin(metrics.stage)
        before, self.metrics = self.metrics, metrics
        self._pace.append((datetime.fromisoformat(when), metrics.step))
        if before and _tenth(before) == _tenth(metrics):
            return []
        values = "  ".join(f"{name} {value:.3g}" for name, value in shown_values(metrics.values))
        return [f"{metrics.stage} {metrics.step}/{metrics.steps}  {values}".rstrip()]

    def _stage(self, body: dict[str, object]) -> list[str]:
        stage, seconds = str(body.get("stage", "")), body.get("seconds")
        if not isinstance(seconds, (int, float)):
            self._begin(stage)
            return [f"{STAGE_TITLES.get(stage, stage)} ..."]
        self._begin("")
        self.seconds[stage] = float(seconds)
        return [f"{STAGE_TITLES.get(stage, stage)}: done in {clock_text(float(seconds))}"]

    def _begin(self, stage: str) -> None:
        self.stage, self.metrics = stage, None
        self._pace.clear()

    def at_work(self) -> str:
        """Say what goes on while nothing new is known; empty where no stage is at work."""
        if not self.stage or self.state != "RUNNING":
            return ""
        at = f" {self.metrics.step}/{self.metrics.steps}" if self.metrics else ""
        left = self.left()
        ending = f", about {clock_text(left)} left of this stage" if left is not None else ""
        return f"{self.stage}{at}: at work, {clock_text(self._clock() - self._began)} since the beginning{ending}"

    def left(self) -> float | None:
        """Return the seconds left of the stage at work, at the pace of its last steps; None until there is a pace."""
        if self.metrics is None or len(self._pace) < 2:
            return None
        (began, first), (ended, last) = self._pace[0], self._pace[-1]
        return (ended - began).total_seconds() / max(1, last - first) * (self.metrics.steps - last)

    def __rich__(self) -> RenderableType:
        table = Table.grid(padding=(0, 1))
        for stage in self._stages:
            title = STAGE_TITLES.get(stage, stage)
            if stage in self.seconds:
                table.add_row(Text("✓", style="green"), title, Text(clock_text(self.seconds[stage]), style="dim"))
            elif stage == self.stage and self.state == "RUNNING":
                table.add_row(self._spinner, Text(title, style="bold"), self._bar())
            else:
                table.add_row("·", Text(title, style="dim"), "")
        values = shown_values(self.metrics.values) if self.metrics else []
        numbers = Text("   ".join(f"{name} {value:.3g}" for name, value in values), style="cyan")
        rows = objective_table(self.metrics.values) if self.metrics else None
        elapsed = f"{self.state.lower()}, {clock_text(self._clock() - self._began)}"
        return Group(
            table, numbers, *([rows] if rows else []), Text(self.note, style="dim"), Text(elapsed, style="dim")
        )

    def _bar(self) -> RenderableType:
        if self.metrics is None:
            return ""
        left = self.left()
        row = Table.grid(padding=(0, 1))
        ending = f", {clock_text(left)} left" if left is not None else ""
        row.add_row(
            ProgressBar(total=max(1, self.metrics.steps), completed=self.metrics.step, width=BAR_WIDTH),
            f"{self.metrics.step}/{self.metrics.steps}{ending}",
        )
        return row


def _tenth(metrics: StepMetrics) -> int:
    return 10 * metrics.step // max(1, metrics.steps)


def shown_values(values: dict[str, float]) -> list[tuple[str, float]]:
    """Return the metrics that a person looks at; the others are in the run's report."""
    return [(name, value) for kind in SHOWN for name, value in values.items() if _is_shown(name, kind)]


def _is_shown(name: str, kind: str) -> bool:
    """An objective's part of the reward has its place in the table."""
    return name == kind or (kind != "reward" and name.split(".")[0] == kind)


def clock_text(seconds: float) -> str:
    """Write `42 s`, `3 min 20 s`, `2 h 05 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def follow(events: Iterator[RunEvent], view: RunView, console: Console) -> int:
    """Show a run until its events end; return the sequence of the last one."""
    last = 0
    if not console.is_terminal:
        said = time.monotonic()
        for event in or_silence(events, SILENCE_SECONDS):
            last = event.sequence if event else last
            lines = view.update(event) if event else []
            if not lines and time.monotonic() - said >= SILENCE_SECONDS:
                lines = [line for line in [view.at_work()] if line]
            for line in lines:
                said = time.monotonic()
                console.print(line, markup=False, highlight=False, soft_wrap=True)
        return last
    with Live(view, console=console, refresh_per_second=5):
        for event in events:
            last = event.sequence
            view.update(event)
    return last


def or_silence(events: Iterator[RunEvent], seconds: float) -> Iterator[RunEvent | None]:
    """Iterate over the events, and None whenever none has come for so long."""
    arrived: Queue[RunEvent | BaseException | None] = Queue()

    def listen() -> None:
        try:
            for event in events:
                arrived.put(event)
            arrived.put(None)
        except BaseException as error:  # told to whoever reads, in whose thread it belongs
            arrived.put(error)

    threading.Thread(target=listen, name="charter-follow", daemon=True).start()
    while True:
        try:
            found = arrived.get(timeout=seconds)
        except Empty:
            yield None
            continue
        if found is None:
            return
        if isinstance(found, BaseException):
            raise found
        yield found


def objective_table(values: dict[str, float]) -> Table | None:
    """Make a row for each objective, and one for the price of KL; None for metrics that tell of no objectives."""
    names = [name.removeprefix("weight.") for name in values if name.startswith("weight.")]
    shown = {metric: title for metric, title in COLUMNS.items() if any(f"{metric}.{name}" in values for name in names)}
    if not names:
        return None
    table = Table(box=None, padding=(0, 1), header_style="dim", pad_edge=False)
    table.add_column("")
    for title in shown.values():
        table.add_column(title, justify="right")
    for name in (*names, KL):
        table.add_row("KL" if name == KL else name, *(_cell(values, metric, name) for metric in shown))
    return table


def _cell(values: dict[str, float], metric: str, name: str) -> str:
    value = values.get(f"{metric}.{name}")
    if value is None:
        return ""
    return f"{value:.0%}" if metric in SHARES else f"{value:.3g}"
