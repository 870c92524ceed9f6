"""The weights that held in PPO: those a run began with, a schedule's, and those that people gave it on its way."""

from __future__ import annotations

import pytest

from rlhf_core.records.base import Stage
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.stages.ancestry import told, weights_in_ppo
from rlhf_core.stages.report import step_caveats
from tests.stages.conftest import Desk, NumberJudge

DIAL = {"weights_at": {3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}}


def test_weights_are_those_of_the_run_that_did_ppo_and_people_end_its_schedule(desk: Desk):
    trained = desk.context(NumberJudge(), {"weights": {"helpful": 3}, "ppo": {"dial": DIAL}})
    results = results_at(desk, trained.run.id, 20)
    scheduled = {1: {"helpful": 3}, 3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}
    assert weights_in_ppo(desk.store, results) == scheduled
    desk.store.weights.ask(trained.run.id, {"helpful": 1, "harmless": 5})
    assert weights_in_ppo(desk.store, results) == scheduled, "nobody has taken them up"
    desk.store.weights.take(trained.run.id, trained.run.fence, 5)
    assert list(weights_in_ppo(desk.store, results)) == [1, 3, 5]
    assert told(weights_in_ppo(desk.store, results)[5]) == "helpful 1, harmless 5"
    assert weights_in_ppo(desk.store, {}) == {}


def results_at(desk: Desk, run_id: str, step: int) -> dict[Stage, StageResult]:
    """PPO that kept the policy of a step."""
    made = {"stage": "ppo", "parent": "base", "base_model": "m", "artifact": "a"}
    version = PolicyVersion(id=f"policy-{step}", run_id=run_id, step=step, **made)
    desk.store.policy_versions.add(version)
    return {"ppo": StageResult(run_id=run_id, stage="ppo", policy_version=version.id)}


@pytest.mark.parametrize(("kept", "steps"), [(2, [1]), (3, [1, 3]), (8, [1, 3]), (40, [1, 3, 9])])
def test_weights_behind_the_policy_that_was_kept_never_held(desk: Desk, kept: int, steps: list[int]):
    run = desk.context(NumberJudge(), {"weights": {"helpful": 3}, "ppo": {"dial": DIAL}}).run
    assert list(weights_in_ppo(desk.store, results_at(desk, run.id, kept))) == steps


def test_between_two_points_of_a_straight_line_those_of_the_last_step_are_told(desk: Desk):
    dial = {"weights_at": {11: {"helpful": 0, "harmless": 1}}, "between": "linear"}
    run = desk.context(NumberJudge(), {"weights": {"helpful": 1, "harmless": 0}, "ppo": {"dial": dial}}).run
    # Six of ten tenths of the way.
    held = weights_in_ppo(desk.store, results_at(desk, run.id, 7))
    assert list(held) == [1, 7] and held[7] == pytest.approx({"helpful": 0.4, "harmless": 0.6})


def test_weights_that_a_step_done_again_found_are_told_and_not_those_of_its_first_time(desk: Desk):
    run = desk.context(NumberJudge(), {"weights": {"helpful": 3}}).run
    for step, weights in ((5, {"helpful": 1}), (3, {"harmless": 1})):
        desk.store.weights.ask(run.id, weights)
        desk.store.weights.take(run.id, run.fence, step)
    assert weights_in_ppo(desk.store, results_at(desk, run.id, 20)) == {1: {"helpful": 3}, 3: {"harmless": 1}}


@pytest.mark.parametrize(("parted", "told_of"), [("stop", 1), ("warn", 0)])
def test_a_report_says_that_auditors_chose_the_step_on_prompts_that_it_measures(desk: Desk, parted: str, told_of: int):
    config = {"ppo": {"stop": {"parted": parted}}, "reward": {"auditor_share": 0.3}}
    ctx = desk.context(NumberJudge(), config)
    assert step_caveats(ctx) == ()
    ctx.results["ppo"] = StageResult(run_id=ctx.run.id, stage="ppo")
    assert len(step_caveats(ctx)) == told_of
