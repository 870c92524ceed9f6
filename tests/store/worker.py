"""A process of its own that uses a store, for the tests of many processes and of `kill -9`.

python -m tests.store.worker events FOLDER   make the run if need be; read its last event, write the next, 50 times
python -m tests.store.worker labels FOLDER   submit labels for ever, and print each one once it is acknowledged
python -m tests.store.worker claim FOLDER    claim all runs there are, and print their ids
"""

import json
import sys
import time
from itertools import count
from pathlib import Path

from rlhf_core.errors import Unavailable
from rlhf_core.records.feedback import Preference
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.store.examples import preference


def append_events(store: Store) -> None:
    run_id = store.runs.create("ppo", "{}", "k", "request").id
    for _ in range(50):
        with store.transaction(run_id):
            last = store.events.of_run(run_id, limit=10**6)[-1]
            store.events.append(run_id, "note", json.dumps({"after": last.sequence}))


def submit_labels(store: Store) -> None:
    name = this_process()
    for number in count():
        label = preference(f"{name}-{number}", objective=str(number), labeler=f"human:{name}")
        while not submitted(store, label):
            time.sleep(0.05)
        print(label.id, flush=True)


def submitted(store: Store, label: Preference) -> bool:
    """Whether the label was acknowledged; not where the database is away."""
    try:
        store.preferences.submit(label, label.id)
    except Unavailable:
        return False
    return True


def claim_runs(store: Store) -> None:
    while (run := store.runs.claim(this_process(), 60.0)) is not None:
        print(run.id, flush=True)
        store.runs.release(run.id, run.fence, "SUCCEEDED")


if __name__ == "__main__":
    opened = Store.open(Path(sys.argv[2]))
    {"events": append_events, "labels": submit_labels, "claim": claim_runs}[sys.argv[1]](opened)
    opened.close()
