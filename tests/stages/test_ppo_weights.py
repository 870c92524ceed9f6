"""The weights that held in PPO: those a run began with, a schedule's, and those that people gave it on its way."""

from __future__ import annotations

from rlhf_core.records.runs import StageResult
from rlhf_core.stages.ppo_weights import told, weights_in_ppo
from tests.stages.conftest import Desk, NumberJudge

DIAL = {"weights_at": {3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}}


def test_weights_are_those_of_the_run_that_did_ppo_and_people_end_its_schedule(desk: Desk):
    trained = desk.context(NumberJudge(), {"weights": {"helpful": 3}, "ppo": {"dial": DIAL}})
    results = {"ppo": StageResult(run_id=trained.run.id, stage="ppo")}
    scheduled = {1: {"helpful": 3, "harmless": 0}, 3: {"helpful": 1, "harmless": 2}, 9: {"helpful": 0, "harmless": 1}}
    assert weights_in_ppo(desk.store, results) == scheduled
    desk.store.weights.ask(trained.run.id, {"helpful": 1, "harmless": 5})
    assert weights_in_ppo(desk.store, results) == scheduled, "nobody has taken them up"
    desk.store.weights.take(trained.run.id, trained.run.fence, 5)
    assert list(weights_in_ppo(desk.store, results)) == [1, 3, 5]
    assert told(weights_in_ppo(desk.store, results)[5]) == "helpful 1, harmless 5"
    assert weights_in_ppo(desk.store, {}) == {}
