from pathlib import Path

from rlhf_core.records.models import Checkpoint, PolicyVersion
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
