import json

import pytest

from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import Checkpoint
from rlhf_core.records.runs import StageResult
from rlhf_core.store.store import Store


def test_events_count_by_one_within_each_run_and_can_be_read_on_from_any(store: Store):
    first, second = (store.runs.create("ppo", "{}", "k", name).id for name in "ab")
    for step in range(3):
        store.events.append(first, "metrics", json.dumps({"step": step}))
    event = store.events.append(second, "note", '{"text": "hello"}')
    assert [e.sequence for e in store.events.of_run(first)] == [1, 2, 3, 4]
    assert [json.loads(e.body)["step"] for e in store.events.of_run(first, after_sequence=2)] == [1, 2]
    assert [e.sequence for e in store.events.of_run(first, after_sequence=1, limit=2)] == [2, 3]
    assert store.events.of_run(second)[-1] == event


def test_an_event_needs_a_run_and_json(store: Store):
    run = store.runs.create("ppo", "{}", "k", "a")
    with pytest.raises(NotFound):
        store.events.append("nobody", "note", "{}")
    with pytest.raises(InvalidInput):
        store.events.append(run.id, "note", "{broken")
    assert len(store.events.of_run(run.id)) == 1


def test_the_first_result_of_a_stage_stands(store: Store):
    run = store.runs.create("pipeline", "{}", "k", "a").id
    sft = StageResult(run_id=run, stage="sft", policy_version="p1", counts={"in": 3, "accepted": 2}, seconds=1.5)
    reward = StageResult(run_id=run, stage="reward", reward_models={"helpful": "m1"}, numbers={"accuracy": 0.9})
    for result in (sft, reward, sft.model_copy(update={"policy_version": "p2"})):
        store.stage_results.add(result)
    assert store.stage_results.of_run(run) == {"sft": sft, "reward": reward}
    assert list(store.stage_results.of_run(run)) == ["sft", "reward"]


def test_the_latest_checkpoint_is_that_of_the_highest_step(store: Store):
    run = store.runs.create("ppo", "{}", "k", "a").id
    for step in (10, 30, 20):
        store.checkpoints.add(Checkpoint(run_id=run, stage="ppo", step=step, artifact=f"artifact {step}"))
    latest = store.checkpoints.latest(run, "ppo")
    assert latest is not None and latest.artifact == "artifact 30"
    assert store.checkpoints.latest(run, "sft") is None


def test_results_of_an_unknown_run_are_refused(store: Store):
    with pytest.raises(NotFound):
        store.stage_results.add(StageResult(run_id="nobody", stage="sft"))
