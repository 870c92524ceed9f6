import pytest

from rlhf_core.errors import Conflict, LeaseLost, NotFound
from rlhf_core.records.runs import WatchPoint
from rlhf_core.store.store import Store


def running(store: Store):
    store.runs.create("ppo", "{}", "k", "")
    run = store.runs.claim("worker", 3600)
    assert run is not None
    return run


def test_weights_wait_for_the_next_step_and_hold_from_it_on(store: Store):
    run = running(store)
    assert store.weights.take(run.id, run.fence, 1) is None
    store.weights.ask(run.id, {"helpful": 1, "harmless": 9})
    store.weights.ask(run.id, {"helpful": 1, "harmless": 2})
    assert [change.from_step for change in store.weights.of_run(run.id)] == [None, None]
    taken = store.weights.take(run.id, run.fence, 4)
    assert taken is not None and (taken.weights, taken.from_step) == ({"helpful": 1, "harmless": 2}, 4)
    assert store.weights.take(run.id, run.fence, 5) == taken


def test_a_step_that_is_done_again_finds_the_weights_of_its_first_time(store: Store):
    run = running(store)
    store.weights.ask(run.id, {"helpful": 1})
    first = store.weights.take(run.id, run.fence, 3)
    store.weights.ask(run.id, {"harmless": 1})
    second = store.weights.take(run.id, run.fence, 6)
    again = [store.weights.take(run.id, run.fence, step) for step in (2, 3, 5, 6)]
    assert again == [None, first, first, second] and first != second


def test_weights_that_were_given_after_a_crash_hold_beyond_the_step_that_took_older_ones(store: Store):
    run = running(store)
    store.weights.ask(run.id, {"helpful": 1})
    assert store.weights.take(run.id, run.fence, 55) is not None
    store.weights.ask(run.id, {"harmless": 9})  # it died at 57, and goes on from a checkpoint of 50
    held = [store.weights.take(run.id, run.fence, step) for step in (51, 54, 55, 60)]
    assert [change and (change.weights, change.from_step) for change in held] == [({"harmless": 9}, 51)] * 4


def test_weights_of_one_run_are_not_another_ones(store: Store):
    run = running(store)
    other = store.runs.create("ppo", "{}", "k", "")
    store.weights.ask(other.id, {"helpful": 1})
    assert store.weights.take(run.id, run.fence, 1) is None
    with pytest.raises(NotFound):
        store.weights.ask("nobody", {"helpful": 1})


def test_a_run_that_has_ended_and_a_worker_without_its_lease_take_no_weights(store: Store):
    run = running(store)
    store.weights.ask(run.id, {"helpful": 1})
    with pytest.raises(LeaseLost):
        store.weights.take(run.id, run.fence - 1, 1)
    store.runs.release(run.id, run.fence, "SUCCEEDED")
    with pytest.raises(Conflict, match="is SUCCEEDED; weights can be set while it waits"):
        store.weights.ask(run.id, {"helpful": 1})


def test_watch_points_come_back_by_step_and_those_of_a_step_done_again_replace_its_first(store: Store):
    run = running(store)
    late = WatchPoint(run_id=run.id, step=5, objective="helpful", kl=2.5, proxy=(1.0, 2.0), auditor=(0.5, 0.25))
    early = WatchPoint(run_id=run.id, step=0, objective="helpful", kl=0.0, proxy=(0.0, 0.125), gold=(1.0, 0.5))
    store.watch_points.add([late])
    store.watch_points.add([early])
    assert store.watch_points.of_run(run.id) == [early, late]
    again = late.model_copy(update={"kl": 9.0})
    store.watch_points.add([again])
    assert store.watch_points.of_run(run.id) == [early, again]
    assert store.watch_points.of_run("another") == []
