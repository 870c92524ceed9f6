from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput, LeaseLost, NotFound, Unavailable
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, sample, vote


def test_state_and_results_land_together_under_the_fence(store: Store):
    store.runs.create("sft", "{}", "k", "q")
    run = store.runs.claim("elsewhere:1:1", 60)
    assert run is not None
    with store.transaction(run.id, run.fence):
        store.samples.add([sample("1", run.id)])
        store.stage_results.add(StageResult(run_id=run.id, stage="sft"))
        store.runs.release(run.id, run.fence, "SUCCEEDED")
    assert store.runs.get(run.id).state == "SUCCEEDED"
    assert len(store.samples.of_run(run.id)) == len(store.stage_results.of_run(run.id)) == 1


def test_a_stale_fence_writes_nothing(store: Store):
    store.runs.create("sft", "{}", "k", "q")
    old = store.runs.claim("elsewhere:1:1", -1)
    new = store.runs.claim("elsewhere:2:2", 60)
    assert old is not None and new is not None
    with pytest.raises(LeaseLost, match="fence 2"), store.transaction(old.id, old.fence):
        store.samples.add([sample("1")])
    assert store.samples.of_run("run") == []


def test_an_exception_takes_back_every_write_of_the_block(store: Store):
    run = store.runs.create("sft", "{}", "k", "q")
    with pytest.raises(NotFound), store.transaction():
        store.comparisons.add([comparison()])
        store.preferences.submit(preference("1"), "q")
        store.events.append(run.id, "note", "{}")
        store.votes.add([vote("1", "missing")])
    assert store.comparisons.of_run("run") == store.preferences.find() == store.samples.of_run("run") == []
    assert len(store.events.of_run(run.id)) == 1


def test_transactions_nest_into_one_commit(store: Store):
    with pytest.raises(KeyError), store.transaction():
        with store.transaction():
            store.samples.add([sample("1")])
        assert store.samples.get("1") == sample("1")
        raise KeyError
    assert store.samples.of_run("run") == []


def test_a_fence_without_its_run_is_refused(store: Store):
    with pytest.raises(NotFound), store.transaction(fence=1):
        pass


def test_a_sound_store_has_nothing_to_report(store: Store):
    store.comparisons.add([comparison()])
    assert store.integrity_check() == []


def test_a_folder_that_cannot_be_a_store_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInput, match="is a file"):
        Store.open(tmp_path / "file")
    with pytest.raises(InvalidInput, match="is a file"):
        Store.open(tmp_path / "file" / "below")
    (tmp_path / "charter.db").write_text("no database " * 100)
    with pytest.raises(Unavailable, match="not a Charter store"):
        Store.open(tmp_path)
