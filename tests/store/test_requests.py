"""Requests that come twice, workers that come and go, and what people write on a run."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput, NotFound, RequestReused, Stale
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.store.examples import comparison, preference


def test_a_request_is_answered_once_also_after_the_store_was_closed(tmp_path: Path):
    done: list[str] = []

    def work() -> str:
        done.append("x")
        return f"answer {len(done)}"

    for _ in range(3):
        store = Store.open(tmp_path)
        assert store.once("CancelRun", "r1", "body", work) == "answer 1"
        store.close()
    store = Store.open(tmp_path)
    assert store.once("PauseRun", "r1", "body", work) == "answer 2"
    assert store.once("CancelRun", "", "body", work) == "answer 3"
    assert store.once("CancelRun", "", "body", work) == "answer 4"
    store.close()


def test_a_request_id_with_another_body_or_of_absurd_length_is_refused(store: Store):
    store.once("CancelRun", "r1", "body", lambda: "yes")
    with pytest.raises(RequestReused, match="take a new request_id"):
        store.once("CancelRun", "r1", "another", lambda: "no")
    assert store.answered("CancelRun", "r1", "body") == "yes"
    assert store.answered("CancelRun", "r2", "body") is None
    with pytest.raises(InvalidInput):
        store.answered("CancelRun", "r" * 201, "body")


def test_work_that_fails_leaves_its_request_new(store: Store):
    def fail() -> str:
        store.create_run("ppo", "{}", "k", "")
        raise NotFound("no such run")

    with pytest.raises(NotFound):
        store.once("ResumeRun", "r1", "body", fail)
    assert store.runs(10)[0] == []
    assert store.once("ResumeRun", "r1", "body", lambda: "later") == "later"


def test_a_worker_is_known_until_it_signs_out_or_dies(store: Store, tmp_path: Path):
    assert store.workers() == []
    store.sign_in(this_process())
    store.sign_in(this_process())
    assert store.workers() == [this_process()]
    code = "import sys; from rlhf_core.store.workers import this_process as p; print(p(), flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        owner = other.stdout.readline().strip()
        store.sign_in(owner)
        assert store.workers() == [this_process(), owner]
        other.kill()
    assert store.workers() == [this_process()]
    store.sign_in(this_process())
    store.sign_out(this_process())
    assert store.workers() == []
    with sqlite3.connect(tmp_path / "store" / "charter.db") as database:
        assert database.execute("SELECT count(*) FROM workers").fetchone() == (0,)
    database.close()


def test_an_etag_changes_with_what_people_decide_and_not_with_progress(store: Store):
    run = store.create_run("ppo", "{}", "k", "", "first", "")
    claimed = store.claim_run(this_process(), 60)
    assert claimed is not None and claimed.etag != run.etag
    store.set_progress(run.id, claimed.fence, "ppo", 3, 8)
    assert store.run(run.id).etag == claimed.etag
    with pytest.raises(Stale, match="RUNNING"):
        store.pause_run(run.id, run.etag)
    pausing = store.pause_run(run.id, claimed.etag)
    assert (pausing.state, pausing.requested) == ("RUNNING", "PAUSED")
    assert pausing.etag != claimed.etag
    with pytest.raises(Stale):
        store.cancel_run(run.id, claimed.etag)
    with pytest.raises(Stale):
        store.resume_run(run.id, claimed.etag)
    with pytest.raises(Stale):
        store.update_run(run.id, {"note": "mine"}, claimed.etag)
    assert store.run(run.id) == pausing


def test_what_people_write_is_kept_and_only_what_is_named_changes(store: Store):
    run = store.create_run("ppo", "{}", "k", "", "first", "a note")
    named = store.update_run(run.id, {"display_name": "second"}, run.etag)
    assert (named.display_name, named.note) == ("second", "a note")
    assert named.etag != run.etag and named.state == run.state
    assert store.update_run(run.id, {"note": ""}).note == ""


def test_runs_are_listed_by_state_over_several_pages(store: Store):
    ids = [store.create_run("ppo", "{}", "k", "").id for _ in range(6)]
    for run_id in ids[::2]:
        store.cancel_run(run_id)
    first, token = store.runs(2, states=["CANCELLED"])
    second, end = store.runs(2, token, states=["CANCELLED"])
    assert [run.id for run in (*first, *second)] == [ids[4], ids[2], ids[0]]
    assert end == ""
    assert store.runs(10, states=["FAILED"])[0] == []


def test_a_page_of_labels_goes_on_where_the_last_one_ended_whatever_is_taken_back(store: Store):
    pairs = [comparison(f"c{number}") for number in range(5)]
    store.add_comparisons(pairs)
    given = [preference(f"p-{pair.id}", pair.id, labeler="human:ana") for pair in pairs]
    for number, label in enumerate(given):
        store.submit_preference(label, f"r{number}")
    first, place = store.preference_page(2)
    assert first == given[:2]
    store.undo_preference("human:ana")
    second, place = store.preference_page(2, place)
    assert (second, place) == (given[2:4], 0)
    assert store.preference_page(10, run_id="elsewhere") == ([], 0)
