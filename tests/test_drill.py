"""The fault drill: a short one in earnest, and planted faults that it must find."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from tests.drill.__main__ import drill
from tests.drill.clients import Notes
from tests.drill.rounds import differences, missing
from tests.drill.targets import DATABASE
from tests.small_run import Outcome
from tests.store.examples import comparison, preference
from tests.store.postgres_server import server, why_not

CALM = Outcome(["a", "b"], [("ppo", "p", "text")], ["vote"], [("ppo", {"kl": 0.5})], [])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store) -> Run:
    return store.runs.create("ppo", "{}", "k", "r")


def seen(store: Store, run: Run, requests: list[str]) -> Notes:
    """Notes of clients that saw all events, and whose labels were acknowledged."""
    notes = Notes()
    notes.events = store.events.of_run(run.id)
    pair = comparison("drill")
    store.prompts.add([pair.a.prompt])
    store.samples.add([pair.a, pair.b])
    store.comparisons.add([pair])
    for request in requests:
        given = preference(request, pair.id, f"human:{request}", "helpful")
        notes.labels[request] = store.preferences.submit(given, request)
    return notes


def test_nothing_is_missing_where_nothing_is(store: Store, run: Run):
    assert missing(store, run.id, seen(store, run, ["label-0", "label-1"])) == []


def test_a_label_that_was_acknowledged_and_is_not_there_is_found(store: Store, run: Run):
    notes = seen(store, run, ["label-0"])
    notes.labels["label-1"] = notes.labels["label-0"].model_copy(update={"labeler": "human:label-1"})
    assert missing(store, run.id, notes) == ["acknowledged label 'label-1' is missing or another"]


def test_events_that_a_watcher_did_not_see_or_saw_twice_are_found(store: Store, run: Run):
    notes = seen(store, run, [])
    for wrong in ([], [*notes.events, *notes.events]):
        notes.events = wrong
        assert len(missing(store, run.id, notes)) == 1


@pytest.mark.parametrize("name", Outcome._fields)
def test_another_outcome_is_found_by_its_name(name: str):
    assert differences(CALM._replace(**{name: ["other"]}), CALM) == [f"{name}: not those of a calm run"]
    assert differences(CALM, CALM) == []


@pytest.mark.slow
def test_three_kills_do_no_harm(tmp_path: Path):
    *_, result = drill(3, 0, tmp_path, print)
    assert (result["kills"], result["faults"]) == (3, 0), result
    assert result["runs_succeeded"] == result["runs"] and result["labels_acknowledged"] > 0


@pytest.mark.slow
def test_kills_of_the_database_and_of_processes_that_share_it_do_no_harm(tmp_path: Path):
    if reason := why_not():
        pytest.skip(reason)
    with server() as database:
        # With this seed the database is among the first three.
        *_, result = drill(3, 8, tmp_path, print, database)
    assert (result["kills"], result["faults"]) == (3, 0), result
    assert result["runs_succeeded"] == result["runs"] and result["labels_acknowledged"] > 0
    assert DATABASE in result["kills_by_process"]
