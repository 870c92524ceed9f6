"""Requests that come twice, workers that come and go, and what people write on a run."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput, NotFound, RequestReused, Stale
from rlhf_core.store import workers
from rlhf_core.store.databases.place import connect, place_of
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.store.examples import comparison, preference


def test_a_request_is_answered_once_also_after_the_store_was_closed(folder: Path):
    done: list[str] = []

    def work() -> str:
        done.append("x")
        return f"answer {len(done)}"

    for _ in range(3):
        store = Store.open(folder)
        assert store.requests.once("CancelRun", "r1", "body", work) == "answer 1"
        store.close()
    store = Store.open(folder)
    assert store.requests.once("PauseRun", "r1", "body", work) == "answer 2"
    assert store.requests.once("CancelRun", "", "body", work) == "answer 3"
    assert store.requests.once("CancelRun", "", "body", work) == "answer 4"
    store.close()


def test_a_request_id_with_another_body_or_of_absurd_length_is_refused(store: Store):
    store.requests.once("CancelRun", "r1", "body", lambda: "yes")
    with pytest.raises(RequestReused, match="take a new request_id"):
        store.requests.once("CancelRun", "r1", "another", lambda: "no")
    assert store.requests.answered("CancelRun", "r1", "body") == "yes"
    assert store.requests.answered("CancelRun", "r2", "body") is None
    with pytest.raises(InvalidInput):
        store.requests.answered("CancelRun", "r" * 201, "body")


def test_work_that_fails_leaves_its_request_new(store: Store):
    def fail() -> str:
        store.runs.create("ppo", "{}", "k", "")
        raise NotFound("no such run")

    with pytest.raises(NotFound):
        store.requests.once("ResumeRun", "r1", "body", fail)
    assert store.runs.page(10)[0] == []
    assert store.requests.once("ResumeRun", "r1", "body", lambda: "later") == "later"


def test_a_worker_is_known_until_it_signs_out_or_dies(store: Store, folder: Path):
    assert store.workers.signed_in() == []
    store.workers.sign_in(this_process())
    store.workers.sign_in(this_process())
    assert store.workers.signed_in() == [this_process()]
    code = "import sys; from rlhf_core.store.workers import this_process as p; print(p(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        owner = other.stdout.readline().strip()
        store.workers.sign_in(owner)
        assert store.workers.signed_in() == [this_process(), owner]
        other.kill()
    assert store.workers.signed_in() == [this_process()]
    store.workers.sign_in(this_process())
    store.workers.sign_out(this_process())
    assert store.workers.signed_in() == []
    with closing(connect(folder, place_of(folder).database)) as connections:
        assert connections.rows("SELECT owner FROM workers") == []


def test_a_worker_of_another_host_is_known_as_long_as_it_is_heard_of(store: Store, folder: Path, monkeypatch):
    elsewhere = "elsewhere.1.abc:1:1"
    store.workers.sign_in(elsewhere)
    store.workers.sign_in(this_process())
    assert store.workers.signed_in() == [elsewhere, this_process()]
    monkeypatch.setattr(workers, "HEARD_SECONDS", 0.2)
    time.sleep(0.25)
    assert store.workers.signed_in() == [this_process()]
    store.workers.sign_in(elsewhere)
    assert set(store.workers.signed_in()) == {elsewhere, this_process()}
    time.sleep(0.25)
    store.workers.sign_in(this_process())
    with closing(connect(folder, place_of(folder).database)) as connections:
        assert [row["owner"] for row in connections.rows("SELECT owner FROM workers")] == [this_process()]


def test_an_etag_changes_with_what_people_decide_and_not_with_progress(store: Store):
    run = store.runs.create("ppo", "{}", "k", "", "first", "")
    claimed = store.runs.claim(this_process(), 60)
    assert claimed is not None and claimed.etag != run.etag
    store.runs.set_progress(run.id, claimed.fence, "ppo", 3, 8)
    assert store.runs.get(run.id).etag == claimed.etag
    with pytest.raises(Stale, match="RUNNING"):
        store.runs.pause(run.id, run.etag)
    pausing = store.runs.pause(run.id, claimed.etag)
    assert (pausing.state, pausing.requested) == ("RUNNING", "PAUSED")
    assert pausing.etag != claimed.etag
    with pytest.raises(Stale):
        store.runs.cancel(run.id, claimed.etag)
    with pytest.raises(Stale):
        store.runs.resume(run.id, claimed.etag)
    with pytest.raises(Stale):
        store.runs.update(run.id, {"note": "mine"}, claimed.etag)
    assert store.runs.get(run.id) == pausing


def test_what_people_write_is_kept_and_only_what_is_named_changes(store: Store):
    run = store.runs.create("ppo", "{}", "k", "", "first", "a note")
    named = store.runs.update(run.id, {"display_name": "second"}, run.etag)
    assert (named.display_name, named.note) == ("second", "a note")
    assert named.etag != run.etag and named.state == run.state
    assert store.runs.update(run.id, {"note": ""}).note == ""


def test_runs_are_listed_by_state_over_several_pages(store: Store):
    ids = [store.runs.create("ppo", "{}", "k", "").id for _ in range(6)]
    for run_id in ids[::2]:
        store.runs.cancel(run_id)
    first, token = store.runs.page(2, states=["CANCELLED"])
    second, end = store.runs.page(2, token, states=["CANCELLED"])
    assert [run.id for run in (*first, *second)] == [ids[4], ids[2], ids[0]]
    assert end == ""
    assert store.runs.page(10, states=["FAILED"])[0] == []


def test_a_page_of_labels_goes_on_where_the_last_one_ended_whatever_is_taken_back(store: Store):
    pairs = [comparison(f"c{number}") for number in range(5)]
    store.comparisons.add(pairs)
    given = [preference(f"p-{pair.id}", pair.id, labeler="human:ana") for pair in pairs]
    for number, label in enumerate(given):
        store.preferences.submit(label, f"r{number}")
    first, last = store.preferences.page(2)
    assert first == given[:2]
    store.preferences.undo("human:ana")
    second, last = store.preferences.page(2, last)
    assert (second, last) == (given[2:4], 0)
    assert store.preferences.page(10, run_id="elsewhere") == ([], 0)
