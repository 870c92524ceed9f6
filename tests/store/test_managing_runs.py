"""Runs by short names and tags, what is going on with them, and their end in the store."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest

from rlhf_core.errors import Conflict, InvalidInput, NotFound, Stale
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import Run, StageResult, StepMetrics
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, sample, vote

HOUR, AT_ONCE = 3600.0, -1.0


def create(store: Store, config: str = "{}", name: str = "", **tags: str) -> Run:
    return store.runs.create("ppo", config, "k1", "", name, tags=tags)


def at_work(store: Store, lease_seconds: float = HOUR, owner: str = "elsewhere:1:1") -> Run:
    create(store)
    run = store.runs.claim(owner, lease_seconds)
    assert run is not None
    return store.runs.get(run.id)


def ended(store: Store, config: str = "{}") -> Run:
    return store.runs.cancel(create(store, config).id)


def test_a_run_is_found_by_its_last_part_the_beginning_of_its_id_and_its_name(store: Store):
    run, other = create(store, name="more harm"), create(store, name="twice")
    create(store, name="twice")
    for reference in (run.id, run.short_id, run.short_id[:4], f"run-{run.short_id}", run.id[:-2], "more harm"):
        assert store.runs.find(reference).id == run.id, reference
    with pytest.raises(InvalidInput, match="'twice' is 2 runs"):
        store.runs.find("twice")
    with pytest.raises(InvalidInput, match="'run-2026' is 3 runs"):
        store.runs.find("run-2026")
    with pytest.raises(NotFound, match='did you mean "more harm"'):
        store.runs.find("more ham")
    for nothing in ("", other.short_id[:3], "%", "_"):
        with pytest.raises(NotFound):
            store.runs.find(nothing)


def test_a_run_at_work_shows_at_once_that_it_was_asked_to_pause_or_cancel(store: Store):
    run = at_work(store)
    assert run.status == "RUNNING"
    assert store.runs.pause(run.id).status == "PAUSING"
    assert store.runs.resume(run.id).status == "RUNNING"
    assert store.runs.cancel(run.id).status == "CANCELLING"
    assert store.runs.release(run.id, run.fence, "QUEUED").status == "CANCELLED"


def test_a_run_whose_process_is_dead_or_whose_lease_ran_out_is_lost(store: Store):
    code = "from rlhf_core.store.workers import this_process; print(this_process())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert at_work(store, owner=dead).status == "LOST"
    run = at_work(store, AT_ONCE)
    assert run.status == "LOST" and store.runs.page(1, states=["RUNNING"])[0][0].status == "LOST"
    assert store.runs.pause(run.id).status == "PAUSED", "nobody would come to a later step"


def test_a_cancel_whose_worker_died_meanwhile_is_settled_without_another_worker(store: Store):
    run = at_work(store)
    store.runs.cancel(run.id)
    store.runs.settle()
    assert store.runs.get(run.id).status == "CANCELLING"
    store.runs.heartbeat(run.id, run.fence, AT_ONCE)
    store.runs.settle()
    assert store.runs.get(run.id).status == "CANCELLED"


def test_the_pace_is_that_of_the_last_steps_of_one_stage(store: Store, monkeypatch: pytest.MonkeyPatch):
    run = at_work(store)
    for second, stage in ((0, "sft"), (100, "ppo"), (104, "ppo"), (110, "ppo")):
        moment = datetime.fromisoformat("2026-01-01T00:00:00+00:00").timestamp() + second
        told = datetime.fromtimestamp(moment).astimezone().isoformat()
        monkeypatch.setattr("rlhf_core.store.run_history.now", lambda told=told: told)
        body = StepMetrics(stage=stage, step=1, steps=9, values={}).model_dump_json()
        store.events.append(run.id, "metrics", body)
    assert store.runs.get(run.id).step_seconds == pytest.approx(5.0)


def test_runs_are_listed_by_all_of_the_tags(store: Store):
    one, both = create(store, sweep="kl"), create(store, sweep="kl", seed="1")
    create(store)
    assert [run.id for run in store.runs.page(9, tags=["sweep=kl"])[0]] == [both.id, one.id]
    assert [run.id for run in store.runs.page(9, tags=["sweep", "seed=1"])[0]] == [both.id]
    assert store.runs.page(9, tags=["seed=2"])[0] == []
    assert store.runs.get(both.id).tags == {"sweep": "kl", "seed": "1"}


def fill(store: Store, run_id: str) -> None:
    store.comparisons.add([comparison(f"c-{run_id}", run_id)])
    store.votes.add([vote(f"v-{run_id}", f"c-{run_id}", run_id)])
    store.preferences.add([preference(f"p-{run_id}", f"c-{run_id}", "ai:judge", run_id=run_id)])
    store.stage_results.add(StageResult(run_id=run_id, stage="label"))


def test_a_deleted_run_takes_its_rows_along_and_nobody_elses(store: Store, tmp_path):
    run, other = ended(store), ended(store)
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "weights").write_text("12345")
    digest = store.artifacts.put_folder(tmp_path / "adapter")
    version = PolicyVersion(id="p", run_id=run.id, stage="ppo", parent="base", base_model="b", artifact=digest)
    store.policy_versions.add(version)
    for one in (run, other):
        fill(store, one.id)
    gone = store.deletion.delete(run.id)
    expected = {"votes": 1, "preferences": 1, "comparisons": 1, "samples": 2, "policy_versions": 1, "runs": 1}
    assert {table: gone.rows[table] for table in expected} == expected
    assert (gone.artifacts, gone.size, gone.kept_labels) == (1, 5, 0)
    with pytest.raises(NotFound):
        store.runs.get(run.id)
    assert len(store.samples.of_run(other.id)) == 2 and len(store.votes.find(run_id=other.id)) == 1
    assert store.integrity_check() == []
    assert store.garbage.collect(-1).digests == (digest,)


def test_what_another_run_counts_and_what_people_labelled_stays(store: Store):
    run, other = ended(store), ended(store)
    fill(store, run.id)
    shared = vote(f"v-{run.id}", f"c-{run.id}", other.id)
    store.votes.add([shared])
    store.comparisons.add([comparison("labelled", run.id)])
    store.preferences.submit(preference("by-ada", "labelled", run_id=run.id), "request")
    store.samples.add([sample("mine", run.id)])
    gone = store.deletion.delete(run.id)
    assert (gone.kept_labels, gone.rows["samples"]) == (1, 1)
    assert [found.id for found in store.votes.find(run_id=other.id)] == [shared.id]
    assert [found.id for found in store.preferences.find(labelers="human")] == ["by-ada"]
    assert store.comparisons.get("labelled").run_id == ""
    assert store.integrity_check() == []


def test_a_run_that_works_or_that_others_need_is_not_deleted(store: Store):
    working, base = at_work(store), ended(store)
    follower = ended(store, f'{{"from_run": "{base.id}"}}')
    with pytest.raises(Conflict, match="is RUNNING; cancel it first"):
        store.deletion.delete(working.id)
    with pytest.raises(Conflict, match=f"other runs go on from: {follower.id}"):
        store.deletion.delete(base.id)
    with pytest.raises(Stale):
        store.deletion.delete(follower.id, "etag-old")
    for number in range(3):
        made = {"id": f"p{number}", "run_id": follower.id if number == 0 else base.id, "stage": "ppo"}
        store.policy_versions.add(
            PolicyVersion.model_validate({**made, "parent": "base", "base_model": "b", "artifact": "0" * 64})
        )
        store.aliases.promote("production", f"p{number}", "", "", "")
        if number < 2:
            with pytest.raises(Conflict, match=r"p0 \(production\)"):
                store.deletion.delete(follower.id)
    store.deletion.delete(follower.id)
    assert store.aliases.line("production") == ["p2", "p1"]
    assert store.aliases.roll_back("production", "", "").version == "p1"
    assert store.aliases.roll_back("production", "", "").version == "", "p0 went with its run"
