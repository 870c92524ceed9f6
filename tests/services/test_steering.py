"""Weights for a run under way, over the wire and from the command line."""

from __future__ import annotations

import pytest

from rlhf_core.config import RunConfig
from rlhf_core.errors import Conflict, InvalidInput, NotFound
from services.cli import app
from tests.services.conftest import SLOW_SEED


def slow_run(served, **settings) -> str:
    """A run that is under way for a second, on a constitution with the objectives helpful and harmless."""
    config = RunConfig.model_validate({"constitution": "household", "seed": SLOW_SEED, **settings})
    return served.client.trainer.create_run(config).id


def test_weights_are_completed_and_wait_for_the_next_step(served):
    run = slow_run(served)
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
    run = slow_run(served)
    with pytest.raises(InvalidInput, match=message):
        served.client.trainer.set_weights(run, weights)
    served.client.trainer.cancel_run(run)


def test_the_worst_case_takes_no_unequal_weights(served):
    run = slow_run(served, ppo={"dial": {"combine": "worst_case"}})
    with pytest.raises(InvalidInput, match="looks at the worst objective only"):
        served.client.trainer.set_weights(run, {"helpful": 1, "harmless": 2})
    served.client.trainer.cancel_run(run)


def test_a_run_without_ppo_or_after_its_end_takes_no_weights(served):
    run = slow_run(served, kind="evaluate", from_run=served.run_id)
    with pytest.raises(Conflict, match="is of kind 'evaluate' and has no PPO"):
        served.client.trainer.set_weights(run, {"helpful": 1})
    served.client.trainer.cancel_run(run)
    with pytest.raises(Conflict, match="is CANCELLED"):
        served.client.trainer.set_weights(served.run_id, {"helpful": 1})
    with pytest.raises(NotFound):
        served.client.trainer.set_weights("nobody", {"helpful": 1})


def test_the_dial_can_be_turned_from_the_command_line(served, capsys):
    run = slow_run(served)
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
        slow_run(served, **settings)
