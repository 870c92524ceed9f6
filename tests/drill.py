"""Fault drill: kill -9 of one random process at a random moment, many times, while runs go and clients retry.

python -m tests.drill --times 50 --out drill.json
python -m tests.drill --times 50 --postgres        # the store in PostgreSQL, whose server is killed like the others

Each round starts the five services of deploy/compose.yaml on a fresh folder and lets a small run go through them.
Whatever dies is started again, as the compose file does. Exit code 0 when every run ended with the bytes of a run that
nobody disturbed, no client got a wrong answer, and the store is sound and holds all that was acknowledged.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rlhf_core.errors import CharterError
from rlhf_core.store.databases.place import Place, use
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from tests.drill_clients import PATIENCE_SECONDS, Notes, Reference, ask, guarded, label, reference, watch
from tests.processes import ROLES, Processes
from tests.small_run import SMALL, Outcome, outcome
from tests.store.postgres_server import Server
from tests.store.postgres_server import server as postgres_server

ROUND_SECONDS = 3600.0
CALM_SECONDS = 4.0
"""The next process is killed at a random moment of this time after all serve again."""


DATABASE = "database"


class Kill(NamedTuple):
    role: str
    stage: str
    """Where the run was."""
    seconds_away: float


def kill_one(processes: Processes, store: Store, run_id: str, chance: random.Random, database: Server | None) -> Kill:
    role = chance.choice((*ROLES, DATABASE) if database else ROLES)
    stage = store.runs.get(run_id).stage or "none yet"
    since = time.monotonic()
    if role == DATABASE and database:
        database.kill()
        database.start()
    else:
        processes.kill(role)
        processes.start(role)
        processes.wait_until_serving(role)
    return Kill(role, stage, round(time.monotonic() - since, 1))


def under_fire(
    processes: Processes,
    store: Store,
    run_id: str,
    chance: random.Random,
    most: int,
    notes: Notes,
    database: Server | None,
) -> list[Kill]:
    """Kill, at most so often, until the run is over."""
    kills: list[Kill] = []
    deadline = time.monotonic() + ROUND_SECONDS
    while store.runs.get(run_id).state in ("QUEUED", "RUNNING") and time.monotonic() < deadline:
        time.sleep(chance.uniform(0, CALM_SECONDS))
        if len(kills) < most:
            try:
                kills.append(kill_one(processes, store, run_id, chance, database))
            except AssertionError as error:
                notes.wrong.append(str(error))
                return kills
            notes.wrong += [f"after killing {kills[-1].role}: {fault}" for fault in store.integrity_check()]
    return kills


def drill_round(
    folder: Path, calm: Reference, chance: random.Random, most: int, database: Server | None
) -> dict[str, Any]:
    """One run under at most so many kills; what went wrong is told, not raised."""
    if database:
        use(folder, Place(database=database.empty()))
    notes, over = Notes(), threading.Event()
    began = time.monotonic()
    with (
        Processes(folder) as processes,
        contextlib.closing(Store.open(folder)) as store,
        CharterClient.connect(processes.address("trainer"), patience_seconds=PATIENCE_SECONDS) as client,
    ):
        run_id = client.trainer.create_run(SMALL, request_id="the-run").id
        watcher = guarded(notes, watch, processes, run_id, notes)
        asker = guarded(notes, ask, processes, calm, run_id, notes, over)
        labeller = guarded(notes, label, processes, calm, notes, over)
        kills = under_fire(processes, store, run_id, chance, most, notes, database)
        try:
            if client.trainer.create_run(SMALL, request_id="the-run").id != run_id:
                notes.wrong.append("the same request made a second run")
        except CharterError as error:
            notes.wrong.append(f"the request for the run, made again: {error}")
        watcher.join(60)
        over.set()
        asker.join(60)
        labeller.join(60)
        notes.wrong += missing(store, run_id, notes)
        run = store.runs.get(run_id)
    if run.state == "SUCCEEDED":
        notes.wrong += differences(outcome(folder, run_id), calm.run)
    else:
        notes.wrong.append(f"the run is {run.state}: {run.error}")
    return {
        "state": run.state,
        "attempts": run.attempt,
        "kills": [kill._asdict() for kill in kills],
        "labels_acknowledged": len(notes.labels),
        "answers_checked": notes.answers,
        "events_seen": len(notes.events),
        "wrong": notes.wrong,
        "seconds": round(time.monotonic() - began, 1),
    }


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


def drill(
    times: int, seed: int, scratch: Path, tell: Callable[[str], None], database: Server | None = None
) -> Iterator[dict[str, Any]]:
    """Rounds until `times` kills are done; after each the record that drill.json holds."""
    began, chance = time.monotonic(), random.Random(seed)
    calm = reference(scratch / "calm")
    tell(f"calm run done in {time.monotonic() - began:.0f} s; now {times} kills")
    rounds: list[dict[str, Any]] = []
    while (done := sum(len(each["kills"]) for each in rounds)) < times:
        rounds.append(drill_round(scratch / f"round-{len(rounds)}", calm, chance, times - done, database))
        last = rounds[-1]
        tell(
            f"round {len(rounds)}: {last['state']} after {len(last['kills'])} kills and {last['attempts']} attempts in "
            f"{last['seconds']:.0f} s, {last['labels_acknowledged']} labels, {len(last['wrong'])} faults"
        )
        for fault in last["wrong"]:
            tell(f"  FAULT {fault}")
        yield summary(rounds, seed, time.monotonic() - began)


def summary(rounds: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    kills = [kill for each in rounds for kill in each["kills"]]
    return {
        "kills": len(kills),
        "kills_by_process": Counter(kill["role"] for kill in kills),
        "kills_by_stage": Counter(kill["stage"] for kill in kills),
        "runs": len(rounds),
        "runs_succeeded": sum(each["state"] == "SUCCEEDED" for each in rounds),
        "labels_acknowledged": sum(each["labels_acknowledged"] for each in rounds),
        "answers_checked": sum(each["answers_checked"] for each in rounds),
        "faults": sum(len(each["wrong"]) for each in rounds),
        "seed": seed,
        "seconds": round(seconds, 1),
        "rounds": rounds,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50, help="kills in all (default 50)")
    parser.add_argument("--seed", type=int, default=0, help="of who is killed and when")
    parser.add_argument("--out", type=Path, default=Path("drill.json"))
    parser.add_argument("--postgres", action="store_true", help="the store in a server of the drill's own")
    given = parser.parse_args(arguments)
    if given.times < 1:
        parser.error("--times: at least 1")
    # So that a drill that is told to stop leaves no process behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with (
        tempfile.TemporaryDirectory(prefix="drill-") as scratch,
        postgres_server() if given.postgres else contextlib.nullcontext() as database,
    ):
        for result in drill(given.times, given.seed, Path(scratch), lambda text: print(text, flush=True), database):
            given.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(
        f"{result['kills']} kills, {result['runs_succeeded']} of {result['runs']} runs finished, "
        f"{result['faults']} faults"
    )
    return 0 if result["faults"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
