"""A client of the fault drill that is killed itself: it uploads, assesses, and labels by a store of its own.

python -m tests.drill.writer DATA JOURNAL ADDRESS

What is acknowledged it writes down, on the disk before it goes on. Started again it does once more what it cannot know
to be done, by the same request.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from rlhf_core.errors import Exhausted, Interrupted, Loading, Unavailable
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from services.client.client import CharterClient

PAUSE_SECONDS = 0.3
PATIENCE_SECONDS = 900.0
ROWS = 25_000
"""Of each upload: enough for a kill to come in its midst."""

T = TypeVar("T")


class Written(Record):
    """One thing that the writer was told is stored."""

    kind: Literal["upload", "assessment", "label"]
    number: int
    told: str
    """The record as it was acknowledged, as JSON."""


class Doors(NamedTuple):
    """The ways in which the writer reaches the store."""

    client: CharterClient
    store: Store
    scratch: Path


def acknowledged(journal: Path) -> list[Written]:
    """Read what was acknowledged; a last line that a kill cut off was not."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    return [Written.model_validate_json(line) for line in lines]


def note(journal: Path, written: Written) -> None:
    with journal.open("ab") as file:
        file.write(written.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def mend(journal: Path) -> None:
    """Cut off a last line that is not whole."""
    if journal.exists():
        os.truncate(journal, journal.read_bytes().rfind(b"\n") + 1)


def rows(number: int) -> str:
    """What the upload of this number holds."""
    return "".join(json.dumps({"prompt": f"Prompt {row} of upload {number}?"}) + "\n" for row in range(ROWS))


def _pair(number: int) -> Comparison:
    prompt = Prompt.of("How do I clean the drill?")
    a, b = (
        Sample(id=f"drill-{number}-{side}", prompt=prompt, response=f"With {side} {number}.", policy_version="base")
        for side in "ab"
    )
    return Comparison.of(a, b, run_id="")


def upload(doors: Doors, number: int) -> Written:
    file = doors.scratch / "upload.jsonl"
    file.write_text(rows(number))
    dataset = doors.client.datasets.upload(file, f"drill-{number}", "prompts")
    return Written(kind="upload", number=number, told=dataset.model_dump_json())


def assess(doors: Doors, number: int) -> Written:
    """Skip a reply, so that nothing is learned from it and the run stays comparable."""
    given = doors.client.assessments.submit(
        "rating",
        [_pair(number).a],
        objective="helpful",
        labeler="human:writer",
        request_id=f"assessment-{number}",
    )
    return Written(kind="assessment", number=number, told=given.model_dump_json())


def label(doors: Doors, number: int) -> Written:
    pair = _pair(number)
    skip = Preference(
        id=f"writer-{number}",
        comparison_id=pair.id,
        objective="helpful",
        labeler=f"human:writer-{number}",
        choice="skip",
        abstained=True,
    )
    with doors.store.transaction():
        doors.store.comparisons.add([pair])
        kept = doors.store.preferences.submit(skip, f"writer-{number}")
    return Written(kind="label", number=number, told=kept.model_dump_json())


def again(work: Callable[[], T]) -> T:
    """Do it until somebody answers."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except (Unavailable, Loading, Exhausted, Interrupted):
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_SECONDS)


def faults(journal: Path, store: Store, client: CharterClient) -> list[str]:
    """Name what was acknowledged and is not there, or not as it was acknowledged."""
    # Before the store is read, as the writer may still be at work.
    given = acknowledged(journal)
    labels = {one.id: one for one in store.preferences.find("helpful", labelers="human")}
    assessments = {one.id: one for one in client.assessments.list_assessments("helpful")}

    def kept(written: Written) -> str:
        name = json.loads(written.told)["id"]
        if written.kind == "upload":
            return client.datasets.get(name).dataset.model_dump_json()
        found = (labels if written.kind == "label" else assessments).get(name)
        return found.model_dump_json() if found else ""

    wrong = [f"{one.kind} {one.number} of the writer is missing or another" for one in given if kept(one) != one.told]
    wrong += [
        f"the bytes of upload {one.number} are not those that were sent"
        for one in given
        if one.kind == "upload"
        and b"".join(client.datasets.export(json.loads(one.told)["id"])) != rows(one.number).encode()
    ]
    return wrong


def main(data: Path, journal: Path, address: str) -> None:
    mend(journal)
    number = len(acknowledged(journal))
    with (
        CharterClient.connect(address, patience_seconds=PATIENCE_SECONDS) as client,
        contextlib.closing(again(lambda: Store.open(data))) as store,
    ):
        doors = Doors(client, store, journal.parent)
        while True:
            work = (upload, assess, label)[number % 3]
            note(journal, again(partial(work, doors, number)))
            number += 1
            time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
