import json
import subprocess
import sys

import pytest

from rlhf_core.errors import Conflict, InvalidInput, LeaseLost, NotFound
from rlhf_core.records.models import Checkpoint
from rlhf_core.records.runs import Run, StageResult
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process

HOUR = 3600.0
AT_ONCE = -1.0
"""A lease that has run out when it is given."""


def create(store: Store, request_id: str = "") -> Run:
    return store.runs.create("ppo", '{"seed": 0}', "k1", request_id)


def claim(store: Store, lease_seconds: float = HOUR, owner: str = "elsewhere:1:1") -> Run:
    run = store.runs.claim(owner, lease_seconds)
    assert run is not None
    return run


def states(store: Store, run_id: str) -> list[str]:
    return [json.loads(event.body)["state"] for event in store.events.of_run(run_id) if event.kind == "state"]


def test_a_repeated_request_gives_the_same_run_and_another_body_is_a_conflict(store: Store):
    run = create(store, "q")
    assert (run.state, run.attempt, run.fence) == ("QUEUED", 0, 0)
    assert create(store, "q") == run
    with pytest.raises(Conflict, match=run.id):
        store.runs.create("sft", '{"seed": 0}', "k1", "q")
    assert create(store).id != create(store).id
    assert states(store, run.id) == ["QUEUED"]


def test_a_configuration_that_is_not_json_makes_no_run(store: Store):
    with pytest.raises(InvalidInput):
        store.runs.create("ppo", "{broken", "k1", "q")
    assert store.runs.page(10) == ([], "")


def test_runs_are_paged_newest_first(store: Store):
    ids = [create(store).id for _ in range(5)]
    assert ids == sorted(ids)
    pages, token = [], ""
    while not pages or token:
        page, token = store.runs.page(2, token)
        pages.append([run.id for run in page])
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]], [ids[0]]]
    for page_size, page_token in ((0, ""), (2, "x'; DROP TABLE runs")):
        with pytest.raises(InvalidInput):
            store.runs.page(page_size, page_token)


def test_the_oldest_queued_run_is_claimed_once(store: Store):
    first, second = create(store), create(store)
    claimed = claim(store)
    assert (claimed.id, claimed.state, claimed.attempt, claimed.fence) == (first.id, "RUNNING", 1, 1)
    assert claim(store).id == second.id
    assert store.runs.claim("elsewhere:2:2", HOUR) is None


def test_a_lease_that_ran_out_goes_to_the_next_claim_and_the_old_fence_is_refused(store: Store):
    run = create(store)
    old = claim(store, AT_ONCE)
    new = claim(store)
    assert (new.id, new.attempt, new.fence) == (run.id, 2, 2)
    assert store.runs.heartbeat(run.id, old.fence, HOUR) is False
    assert store.runs.heartbeat(run.id, new.fence, HOUR) is True
    with pytest.raises(LeaseLost):
        store.runs.set_progress(run.id, old.fence, "ppo", 1, 10)
    with pytest.raises(LeaseLost):
        store.runs.release(run.id, old.fence, "SUCCEEDED")
    assert store.runs.get(run.id) == new


def test_a_heartbeat_extends_a_lease(store: Store):
    run = create(store)
    claimed = claim(store, AT_ONCE)
    assert store.runs.heartbeat(run.id, claimed.fence, HOUR)
    assert store.runs.claim("elsewhere:2:2", HOUR) is None


def test_a_dead_worker_of_this_host_need_not_run_out_its_lease(store: Store):
    run = create(store)
    code = "from rlhf_core.store.workers import this_process; print(this_process())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert claim(store, owner=dead).id == run.id
    assert claim(store, owner=this_process()).attempt == 2
    assert store.runs.claim(this_process(), HOUR) is None


def lose_workers(store: Store, number: int) -> None:
    for _ in range(number):
        claim(store, AT_ONCE)


def test_a_run_that_loses_five_workers_in_one_place_has_failed_until_it_is_resumed(store: Store):
    run, other = create(store), create(store)
    lose_workers(store, 5)
    assert store.runs.get(run.id).attempt == 5
    assert claim(store).id == other.id
    failed = store.runs.get(run.id)
    assert (failed.state, failed.attempt) == ("FAILED", 5)
    assert "5 workers in a row" in failed.error and "resume" in failed.error
    assert states(store, run.id)[-1] == "FAILED"
    assert store.runs.resume(run.id).state == "QUEUED"
    lose_workers(store, 4)
    assert claim(store).id == run.id


@pytest.mark.parametrize("forward", ["stage", "checkpoint", "release"])
def test_lost_workers_are_forgiven_with_every_step_forward(store: Store, forward: str):
    run = create(store)
    for _ in range(3):
        lose_workers(store, 3)
        held = claim(store)
        assert held.id == run.id
        if forward == "stage":
            store.stage_results.add(StageResult(run_id=run.id, stage="sft"))
        elif forward == "checkpoint":
            store.checkpoints.add(Checkpoint(run_id=run.id, stage="ppo", step=held.attempt, artifact="a"))
        store.runs.release(run.id, held.fence, "QUEUED") if forward == "release" else store.runs.heartbeat(
            run.id, held.fence, AT_ONCE
        )
    assert store.runs.get(run.id).state != "FAILED"


def test_progress_is_shown_while_the_run_is_held(store: Store):
    run = claim_new(store)
    store.runs.set_progress(run.id, run.fence, "ppo", 3, 60)
    shown = store.runs.get(run.id)
    assert (shown.stage, shown.step, shown.steps) == ("ppo", 3, 60)
    assert shown.updated_at > run.updated_at


def claim_new(store: Store) -> Run:
    create(store)
    return claim(store)


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELLED", "PAUSED", "QUEUED"])
def test_a_released_run_is_held_by_nobody(store: Store, state: str):
    run = claim_new(store)
    released = store.runs.release(run.id, run.fence, state, error="disk full" if state == "FAILED" else "")
    assert (released.state, released.error) == (state, "disk full" if state == "FAILED" else "")
    assert not store.runs.heartbeat(run.id, run.fence, HOUR)
    assert states(store, run.id) == ["QUEUED", "RUNNING", state]
    assert (store.runs.claim("elsewhere:2:2", HOUR) is not None) == (state == "QUEUED")


def test_a_run_cannot_be_released_as_running(store: Store):
    run = claim_new(store)
    with pytest.raises(InvalidInput, match="RUNNING"):
        store.runs.release(run.id, run.fence, "RUNNING")


def test_a_queued_run_is_cancelled_at_once_and_for_good(store: Store):
    run = create(store)
    assert store.runs.cancel(run.id).state == "CANCELLED"
    assert store.runs.cancel(run.id).state == "CANCELLED"
    assert store.runs.claim("elsewhere:1:1", HOUR) is None
    for change in (store.runs.pause, store.runs.resume):
        with pytest.raises(Conflict):
            change(run.id)


def test_a_running_run_is_asked_to_cancel(store: Store):
    run = claim_new(store)
    assert not store.runs.cancel_requested(run.id)
    assert store.runs.cancel(run.id).state == "RUNNING"
    assert store.runs.cancel_requested(run.id) and not store.runs.pause_requested(run.id)
    assert store.runs.heartbeat(run.id, run.fence, HOUR)
    with pytest.raises(Conflict):
        store.runs.pause(run.id)
    assert store.runs.release(run.id, run.fence, "CANCELLED").state == "CANCELLED"
    assert not store.runs.cancel_requested(run.id)


def test_a_cancel_beats_a_pause_that_is_under_way(store: Store):
    run = claim_new(store)
    store.runs.pause(run.id)
    store.runs.cancel(run.id)
    assert store.runs.release(run.id, run.fence, "PAUSED").state == "CANCELLED"


def test_a_cancel_that_its_worker_did_not_live_to_see_takes_effect_at_the_next_claim(store: Store):
    run = claim_new(store)
    store.runs.cancel(run.id)
    store.runs.heartbeat(run.id, run.fence, AT_ONCE)
    assert store.runs.claim("elsewhere:2:2", HOUR) is None
    assert store.runs.get(run.id).state == "CANCELLED"


def test_a_run_whose_worker_is_gone_is_cancelled_at_once(store: Store):
    create(store)
    run = claim(store, AT_ONCE)
    assert store.runs.cancel(run.id).state == "CANCELLED"
    with pytest.raises(LeaseLost):
        store.runs.release(run.id, run.fence, "SUCCEEDED")


def test_a_pause_is_taken_back_by_resume_or_holds_the_run_until_then(store: Store):
    run = claim_new(store)
    store.runs.pause(run.id)
    assert store.runs.pause_requested(run.id)
    assert store.runs.resume(run.id).state == "RUNNING" and not store.runs.pause_requested(run.id)
    store.runs.pause(run.id)
    store.runs.release(run.id, run.fence, "PAUSED")
    assert store.runs.claim("elsewhere:2:2", HOUR) is None
    assert store.runs.resume(run.id).state == "QUEUED"
    assert store.runs.pause(run.id).state == "PAUSED"
    store.runs.resume(run.id)
    assert claim(store).fence == 2


def test_a_failed_run_may_be_tried_again_and_a_finished_one_not(store: Store):
    run = claim_new(store)
    store.runs.release(run.id, run.fence, "FAILED", "disk full")
    store.runs.resume(run.id)
    again = claim(store)
    assert (again.attempt, again.error) == (2, "")
    store.runs.release(again.id, again.fence, "SUCCEEDED")
    for change in (store.runs.resume, store.runs.pause, store.runs.cancel):
        with pytest.raises(Conflict, match="SUCCEEDED"):
            change(run.id)


@pytest.mark.parametrize("verb", ["get", "cancel", "pause", "resume", "cancel_requested"])
def test_an_unknown_run_is_named(store: Store, verb: str):
    with pytest.raises(NotFound, match="nobody"):
        getattr(store.runs, verb)("nobody")
