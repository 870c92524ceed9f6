"""The weights that held in PPO: those a run began with, a schedule's, and those that people gave it on its way."""

from __future__ import annotations

import pytest

from rlhf_core.records.runs import StageResult
from rlhf_core.stages.ancestry import told, weights_in_ppo
from rlhf_core.stages.report import step_caveats
from tests.stages.conftest import Desk, NumberJudge

DIAL = {"weights_at": {3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}}


def test_weights_are_those_of_the_run_that_did_ppo_and_people_end_its_schedule(desk: Desk):
    trained = desk.context(NumberJudge(), {"weights": {"helpful": 3}, "ppo": {"dial": DIAL}})
    results = {"ppo": StageResult(run_id=trained.run.id, stage="ppo")}
    scheduled = {1: {"helpful": 3}, 3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}
    assert weights_in_ppo(desk.store, results) == scheduled
    desk.store.weights.ask(trained.run.id, {"helpful": 1, "harmless": 5})
    assert weights_in_ppo(desk.store, results) == scheduled, "nobody has taken them up"
    desk.store.weights.take(trained.run.id, trained.run.fence, 5)
    assert list(weights_in_ppo(desk.store, results)) == [1, 3, 5]
    assert told(weights_in_ppo(desk.store, results)[5]) == "helpful 1, harmless 5"
    assert weights_in_ppo(desk.store, {}) == {}


@pytest.mark.parametrize(("parted", "told_of"), [("stop", 1), ("warn", 0)])
def test_a_report_says_that_auditors_chose_the_step_on_prompts_that_it_measures(desk: Desk, parted: str, told_of: int):
    config = {"ppo": {"stop": {"parted": parted}}, "reward": {"auditor_share": 0.3}}
    ctx = desk.context(NumberJudge(), config)
    assert step_caveats(ctx) == ()
    ctx.results["ppo"] = StageResult(run_id=ctx.run.id, stage="ppo")
    assert len(step_caveats(ctx)) == told_of
