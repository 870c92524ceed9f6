"""A process of its own that uses a store, for the tests of many processes and of `kill -9`.

python worker.py events FOLDER RUN COUNT   read the last event's number, write the next, COUNT times
python worker.py labels FOLDER             submit labels for ever, and print each one once it is acknowledged
python worker.py open FOLDER               open and close
python worker.py claim FOLDER              claim all runs there are, and print their ids
"""

import json
import sys
from itertools import count
from pathlib import Path

from rlhf_core.store.leases import this_process
from rlhf_core.store.store import Store
from tests.store.examples import preference


def append_events(store: Store, run_id: str, times: int) -> None:
    for _ in range(times):
        with store.transaction():
            last = store.events(run_id, limit=10**6)[-1]
            store.append_event(run_id, "note", json.dumps({"after": last.sequence}))


def submit_labels(store: Store) -> None:
    name = this_process()
    for number in count():
        label = preference(f"{name}-{number}", objective=str(number), labeler=f"human:{name}")
        store.submit_preference(label, label.id)
        print(label.id, flush=True)


def claim_runs(store: Store) -> None:
    while (run := store.claim_run(this_process(), 60.0)) is not None:
        print(run.id, flush=True)
        store.release_run(run.id, run.fence, "SUCCEEDED")


def main(verb: str, folder: str, *arguments: str) -> None:
    store = Store.open(Path(folder))
    if verb == "events":
        append_events(store, arguments[0], int(arguments[1]))
    elif verb == "labels":
        submit_labels(store)
    elif verb == "claim":
        claim_runs(store)
    store.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
