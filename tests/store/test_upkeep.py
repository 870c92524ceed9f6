import os
import time
from pathlib import Path

import pytest

from rlhf_core.errors import Conflict, InvalidInput
from rlhf_core.records.models import Checkpoint, PolicyVersion
from rlhf_core.store.databases.copying import copy_artifacts, copy_rows, opened
from rlhf_core.store.databases.place import Place
from rlhf_core.store.identity import identity_of
from rlhf_core.store.store import Store


def put(store: Store, folder: Path, text: str) -> str:
    folder.mkdir()
    (folder / "weights").write_text(text)
    return store.artifacts.put_folder(folder)


def test_artifacts_that_rows_name_stay_and_the_others_go_when_they_are_old(store: Store, tmp_path: Path):
    run = store.runs.create("ppo", "{}", "k1", "r")
    policy, saved = put(store, tmp_path / "a", "policy"), put(store, tmp_path / "b", "saved")
    orphan = put(store, tmp_path / "c", "nobody's")
    store.policy_versions.add(
        PolicyVersion(id="p", run_id=run.id, stage="sft", parent="base", base_model="m", artifact=policy)
    )
    store.checkpoints.add(Checkpoint(run_id=run.id, stage="ppo", step=1, artifact=saved))
    assert store.garbage.orphans() == ((orphan,), len("nobody's"))
    assert store.garbage.collect() == ((), 0)
    assert store.garbage.collect(idle_seconds=0) == ((orphan,), len("nobody's"))
    assert set(store.artifacts.stored()) == {policy, saved}
    assert store.garbage.orphans() == ((), 0)


def test_runs_are_counted_by_state(store: Store):
    for number in range(3):
        store.runs.create("ppo", "{}", "k1", f"r{number}")
    store.runs.cancel(store.runs.page(1)[0][0].id)
    assert store.runs.counts() == {"QUEUED": 2, "CANCELLED": 1}


def test_a_store_that_names_none_of_the_artifacts_there_removes_nobodys(store: Store, tmp_path: Path):
    other = Store.open(tmp_path / "other", Place(artifacts=(tmp_path / "store" / "artifacts").as_uri()))
    digest = put(other, tmp_path / "a", "another store's")
    before = set(store.artifacts.stored())
    assert digest in before
    store.artifacts.disown(identity_of(other._connections))
    with pytest.raises(Conflict, match="no row of this store names any of the 1 artifacts"):
        store.garbage.collect(idle_seconds=0)
    assert set(store.artifacts.stored()) == before
    other.close()


def named_by_a_row(store: Store, artifact: str) -> str:
    run = store.runs.create("ppo", "{}", "k1", artifact)
    store.checkpoints.add(Checkpoint(run_id=run.id, stage="ppo", step=1, artifact=artifact))
    return artifact


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_of_two_stores_that_share_artifacts_neither_takes_the_others(tmp_path: Path, scheme: str):
    shared = Place(artifacts=(tmp_path / "shared").as_uri().replace("file", scheme, 1))
    one, other = Store.open(tmp_path / "one", shared), Store.open(tmp_path / "other", shared)
    kept = {named_by_a_row(one, put(one, tmp_path / "a", "one's"))}
    kept |= {named_by_a_row(other, put(other, tmp_path / "b", "other's"))}
    for store in (one, other):
        with pytest.raises(
            Conflict, match=f"also those of store {identity_of((other if store is one else one)._connections)}"
        ):
            store.garbage.collect(idle_seconds=0)
    assert set(one.artifacts.stored()) == kept
    gone = identity_of(other._connections)
    other.close()
    with pytest.raises(InvalidInput, match=f"'nobody' is no other store of these artifacts; allowed: {gone}"):
        one.garbage.disown("nobody")
    one.garbage.disown(gone)
    assert len(one.garbage.collect(idle_seconds=0).digests) == 1
    one.close()


def test_a_store_keeps_its_identity_and_a_copy_of_its_rows_has_another(store: Store, tmp_path: Path):
    mine = identity_of(store._connections)
    assert identity_of(store._connections) == mine
    source, target = opened(str(tmp_path / "store")), opened(str(tmp_path / "copy"))
    copy_rows(source.connections, target.connections)
    copy_artifacts(source, target)
    assert identity_of(source.connections) == mine != identity_of(target.connections)
    assert target.artifacts and target.artifacts.owners() == {identity_of(target.connections)}
    source.close()
    target.close()


def test_what_a_process_of_another_host_began_and_never_ended_goes_after_an_hour(store: Store, tmp_path: Path):
    policy = put(store, tmp_path / "a", "policy")
    run = store.runs.create("ppo", "{}", "k1", "r")
    store.checkpoints.add(Checkpoint(run_id=run.id, stage="ppo", step=1, artifact=policy))
    drafts = tmp_path / "store" / "artifacts" / "tmp"
    for name, age in (("gone:1:2:a", 7200), ("gone:1:2:b", 60)):
        (drafts / name).mkdir()
        os.utime(drafts / name, (time.time() - age,) * 2)
    store.garbage.collect(idle_seconds=0)
    assert [draft.name for draft in drafts.iterdir()] == ["gone:1:2:b"]
