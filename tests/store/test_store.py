from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput, LeaseLost, NotFound, Unavailable
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference, sample, vote


def test_state_and_results_land_together_under_the_fence(store: Store):
    store.create_run("sft", "{}", "k", "q")
    run = store.claim_run("elsewhere:1:1", 60)
    assert run is not None
    with store.transaction(run.id, run.fence):
        store.add_samples([sample("1", run.id)])
        store.add_stage_result(StageResult(run_id=run.id, stage="sft"))
        store.release_run(run.id, run.fence, "SUCCEEDED")
    assert store.run(run.id).state == "SUCCEEDED"
    assert len(store.samples(run.id)) == len(store.stage_results(run.id)) == 1


def test_a_stale_fence_writes_nothing(store: Store):
    store.create_run("sft", "{}", "k", "q")
    old = store.claim_run("elsewhere:1:1", -1)
    new = store.claim_run("elsewhere:2:2", 60)
    assert old is not None and new is not None
    with pytest.raises(LeaseLost, match="fence 2"), store.transaction(old.id, old.fence):
        store.add_samples([sample("1")])
    assert store.samples("run") == []


def test_an_exception_takes_back_every_write_of_the_block(store: Store):
    run = store.create_run("sft", "{}", "k", "q")
    with pytest.raises(NotFound), store.transaction():
        store.add_comparisons([comparison()])
        store.submit_preference(preference("1"), "q")
        store.append_event(run.id, "note", "{}")
        store.add_votes([vote("1", "missing")])
    assert store.comparisons("run") == store.preferences() == store.samples("run") == []
    assert len(store.events(run.id)) == 1


def test_transactions_nest_into_one_commit(store: Store):
    with pytest.raises(KeyError), store.transaction():
        with store.transaction():
            store.add_samples([sample("1")])
        assert store.sample("1") == sample("1")
        raise KeyError
    assert store.samples("run") == []


def test_a_fence_without_its_run_is_refused(store: Store):
    with pytest.raises(NotFound), store.transaction(fence=1):
        pass


def test_a_sound_store_has_nothing_to_report(store: Store):
    store.add_comparisons([comparison()])
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
