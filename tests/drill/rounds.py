"""One round of the fault drill: a run under fire, and what is wrong after it."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rlhf_core.errors import CharterError
from rlhf_core.records.base import Record
from rlhf_core.store.databases.place import Place, use
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from tests.drill import targets as target
from tests.drill import writer
from tests.drill.clients import PATIENCE_SECONDS, Notes, Reference, ask, guarded, label, watch
from tests.drill.targets import SAMPLER, SECOND, WORKERS, Target, all_back, strike
from tests.processes import Processes
from tests.small_run import SMALL, Outcome, outcome
from tests.store.postgres_server import Server

ROUND_SECONDS = 3600.0
CALM_SECONDS = 4.0
"""The next ones that serve are killed at a random moment of this time."""
KILLS_OF_A_STAGE = 5
"""At most some more, so that no stage takes them all and many runs come to their ends."""
DEATHS_AT_ONE_STEP = 2
"""Workers that are killed before the run has to have moved on: it is given up where five in a row get nowhere."""


class Kill(Record):
    target: str
    stage: str
    """Where the run was."""
    together: int
    """How many were killed at that moment."""


class Round(Record):
    """What one run went through; `wrong` is empty where all was well."""

    store: str
    sampled: str
    state: str
    attempts: int
    outcome: str
    """sha256 of weights, samples, votes, numbers and metrics; empty for a run that did not end well."""
    calm_outcome: str
    kills: tuple[Kill, ...]
    labels_acknowledged: int
    writer_acknowledged: dict[str, int]
    answers_checked: int
    events_seen: int
    wrong: tuple[str, ...]
    seconds: float


class Field(NamedTuple):
    """Where a round takes place."""

    folder: Path
    processes: Processes
    store: Store
    client: CharterClient
    targets: list[Target]

    @property
    def journal(self) -> Path:
        return self.folder.parent / f"{self.folder.name}-writer" / "journal.jsonl"


@contextlib.contextmanager
def field(folder: Path, elsewhere: bool, database: Server | None) -> Iterator[Field]:
    """Start all that a round needs; at the end what is left is killed."""
    if database:
        use(folder, Place(database=database.empty()))
    logs = folder.parent / f"{folder.name}-logs"
    logs.mkdir()
    with contextlib.ExitStack() as stack:
        settings, more = {}, []
        if elsewhere:
            address, sampler = stack.enter_context(target.sampler(logs / f"{SAMPLER}.log"))
            # Long enough for a server that has to start again on a busy machine.
            settings = {"CHARTER__MODEL__SAMPLER__ADDRESS": address, "CHARTER__MODEL__SAMPLER__RETRIES": "20"}
            more.append(sampler)
        if database:
            more.append(target.database(database))
        processes = stack.enter_context(Processes(folder, more={SECOND: "trainer"}, settings=settings))
        store = stack.enter_context(contextlib.closing(Store.open(folder)))
        at = ",".join(f"{name}={processes.address(name)}" for name in ("preference", "trainer"))
        client = stack.enter_context(CharterClient.connect(at, patience_seconds=PATIENCE_SECONDS))
        made = Field(folder, processes, store, client, [*target.services(processes), *more])
        made.journal.parent.mkdir()
        made.targets.append(stack.enter_context(target.writer(folder, made.journal, at, logs / "writer.log")))
        yield made


def under_fire(at: Field, run_id: str, chance: random.Random, most: int, notes: Notes) -> list[Kill]:
    """Kill, at most so often, until the run is over and all that was killed is back."""
    kills: list[Kill] = []
    deaths: Counter[tuple[str, int]] = Counter()
    stages: Counter[str] = Counter()
    deadline = time.monotonic() + ROUND_SECONDS
    try:
        while (run := at.store.runs.get(run_id)).state in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
            time.sleep(chance.uniform(0, CALM_SECONDS))
            for one in at.targets:
                one.serves()  # what found its database away is started again, after the last kill too
            if len(kills) == most or stages[run.stage] >= KILLS_OF_A_STAGE:
                continue
            here = run.stage, run.step
            spared = WORKERS if deaths[here] >= DEATHS_AT_ONE_STEP else ()
            struck = strike([one for one in at.targets if one.name not in spared], chance, most - len(kills))
            stages[run.stage] += len(struck)
            deaths[here] += len({*struck} & {*WORKERS})
            kills += [Kill(target=name, stage=run.stage or "none yet", together=len(struck)) for name in struck]
            notes.wrong += [f"after killing {' and '.join(struck)}: {fault}" for fault in at.store.integrity_check()]
        all_back(at.targets)
    except AssertionError as error:
        notes.wrong.append(str(error))
    return kills


def drill_round(
    folder: Path, calm: Reference, chance: random.Random, most: int, elsewhere: bool, database: Server | None
) -> Round:
    """One run under at most so many kills; what went wrong is told, not raised."""
    notes, over = Notes(), threading.Event()
    began = time.monotonic()
    with field(folder, elsewhere, database) as at:
        run_id = at.client.trainer.create_run(SMALL, request_id="the-run").id
        watcher = guarded(notes, watch, at.processes, run_id, notes)
        asker = guarded(notes, ask, at.processes, calm, run_id, notes, over)
        labeller = guarded(notes, label, at.processes, calm, notes, over)
        kills = under_fire(at, run_id, chance, most, notes)
        try:
            if at.client.trainer.create_run(SMALL, request_id="the-run").id != run_id:
                notes.wrong.append("the same request made a second run")
        except CharterError as error:
            notes.wrong.append(f"the request for the run, made again: {error}")
        watcher.join(60)
        over.set()
        asker.join(60)
        labeller.join(60)
        notes.wrong += missing(at.store, run_id, notes)
        notes.wrong += writer.faults(at.journal, at.store, at.client)
        run = at.store.runs.get(run_id)
    found = outcome(folder, run_id) if run.state == "SUCCEEDED" else None
    notes.wrong += differences(found, calm.run) if found else [f"the run is {run.state}: {run.error}"]
    written = [one.kind for one in writer.acknowledged(at.journal)]
    return Round(
        store="postgresql" if database else "sqlite",
        sampled="elsewhere" if elsewhere else "by the services",
        state=run.state,
        attempts=run.attempt,
        outcome=found.sha256 if found else "",
        calm_outcome=calm.run.sha256,
        kills=tuple(kills),
        labels_acknowledged=len(notes.labels),
        writer_acknowledged={kind: written.count(kind) for kind in dict.fromkeys(written)},
        answers_checked=notes.answers,
        events_seen=len(notes.events),
        wrong=tuple(notes.wrong),
        seconds=round(time.monotonic() - began, 1),
    )


def differences(found: Outcome, calm: Outcome) -> list[str]:
    names = [name for name in Outcome._fields if getattr(found, name) != getattr(calm, name)]
    return [f"{name}: not those of a calm run" for name in names]


def missing(store: Store, run_id: str, notes: Notes) -> list[str]:
    """What was acknowledged and is not in the store, or not as it was acknowledged."""
    kept = {label.labeler: label for label in store.preferences.find("helpful", labelers="human")}
    stored = store.events.of_run(run_id, limit=100_000)
    faults = [f"the store is damaged: {fault}" for fault in store.integrity_check()]
    faults += [
        f"acknowledged label '{request}' is missing or another"
        for request, label in notes.labels.items()
        if kept.get(f"human:{request}") != label
    ]
    seen, there = ([(e.sequence, e.kind, e.body) for e in events] for events in (notes.events, stored))
    if seen != there:
        faults.append(f"the watcher saw {len(seen)} events, the store has {len(there)}; or they differ")
    return faults
