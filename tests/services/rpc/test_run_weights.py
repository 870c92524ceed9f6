"""Weights for a run under way, over the wire and from the command line."""

from __future__ import annotations

from contextlib import closing

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import Conflict, InvalidInput, NotFound, RequestReused, Stale
from rlhf_core.store.store import Store
from services.cli.main import app
from tests.services.conftest import SLOW_SEED


def waiting_run(served, **settings) -> str:
    """A paused run, which no worker ends meanwhile, on a constitution with the objectives helpful and harmless."""
    config = RunConfig.model_validate({"constitution": "household", "seed": SLOW_SEED, **settings})
    run = served.client.trainer.create_run(config).id
    served.client.trainer.pause_run(run)
    return run


def test_weights_are_completed_and_wait_for_the_next_step(served):
    run = waiting_run(served)
    assert served.client.trainer.set_weights(run, {"harmless": 2}) == {"helpful": 0, "harmless": 2}
    served.client.trainer.cancel_run(run)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "weights: none are given"),
        ({"kind": 1}, "unknown objective 'kind'; the constitution has: helpful, harmless"),
        ({"helpful": 0}, "all weights are 0"),
        ({"helpful": -1}, "the weight of 'helpful' is -1"),
        ({"helpful": float("nan")}, "the weight of 'helpful' is nan"),
    ],
)
def test_weights_that_make_no_direction_are_refused(served, weights, message):
    run = waiting_run(served)
    with pytest.raises(InvalidInput, match=message):
        served.client.trainer.set_weights(run, weights)
    served.client.trainer.cancel_run(run)


def test_weights_given_again_with_the_same_request_are_given_once(served):
    run = waiting_run(served)
    trainer, request = served.client.trainer, f"dial-{run}"
    first = trainer.set_weights(run, {"harmless": 2}, request_id=request)
    trainer.set_weights(run, {"helpful": 1})
    assert trainer.set_weights(run, {"harmless": 2}, request_id=request) == first == {"helpful": 0, "harmless": 2}
    with pytest.raises(RequestReused):
        trainer.set_weights(run, {"harmless": 3}, request_id=request)
    with closing(Store.open(served.data)) as store:
        assert [change.weights["harmless"] for change in store.weights.of_run(run)] == [2, 0]
    trainer.cancel_run(run)


def test_weights_for_a_run_that_has_changed_since_are_refused_and_tried_ones_leave_nothing(served):
    trainer, run = served.client.trainer, waiting_run(served)
    etag = trainer.update_run(run, note="mine").etag
    assert trainer.set_weights(run, {"helpful": 1}, validate_only=True) == {"helpful": 1, "harmless": 0}
    trainer.update_run(run, note="yours")
    with pytest.raises(Stale, match="read it again"):
        trainer.set_weights(run, {"helpful": 1}, etag)
    with closing(Store.open(served.data)) as store:
        assert store.weights.of_run(run) == []
    trainer.cancel_run(run)


def test_the_worst_case_takes_no_unequal_weights(served):
    run = waiting_run(served, ppo={"dial": {"combine": "worst_case"}})
    with pytest.raises(InvalidInput, match="looks at the worst objective only"):
        served.client.trainer.set_weights(run, {"helpful": 1, "harmless": 2})
    served.client.trainer.cancel_run(run)


def test_a_run_without_ppo_or_after_its_end_takes_no_weights(served):
    run = waiting_run(served, kind="evaluate", from_run=served.run_id)
    with pytest.raises(Conflict, match="is of kind 'evaluate' and has no PPO"):
        served.client.trainer.set_weights(run, {"helpful": 1})
    served.client.trainer.cancel_run(run)
    with pytest.raises(Conflict, match="is SUCCEEDED"):
        served.client.trainer.set_weights(served.run_id, {"helpful": 1})
    with pytest.raises(NotFound):
        served.client.trainer.set_weights("nobody", {"helpful": 1})


def test_the_dial_can_be_turned_from_the_command_line(served, capsys):
    run = waiting_run(served)
    app(["weights", run, "helpful=1,harmless=3", "--address", served.address], standalone_mode=False)
    assert f"run {run}: harmless 3, helpful 1, from its next PPO step on" in capsys.readouterr().out
    served.client.trainer.cancel_run(run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"ppo": {"dial": {"combine": "constrained", "floors": {"kind": 1}}}},
            "ppo.dial.floors: unknown objective 'kind'",
        ),
        ({"ppo": {"stop": {"parted": "stop"}}}, "'stop' asks auditors, and reward.auditor_share is 0"),
        ({"norm": {"require_gain": True}}, "give norm.best_of and reward.auditor_share"),
        ({"label": {"on_policy": True}}, "label.on_policy: name the run whose policy is to be labelled"),
    ],
)
def test_a_dial_or_a_stop_rule_that_cannot_work_is_told_before_the_run_begins(served, settings, message):
    with pytest.raises(InvalidInput, match=message):
        waiting_run(served, **settings)
