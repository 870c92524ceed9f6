"""The climb of the weighted sum, by hand: helpful weighs 1 and harmless 3, so a quarter and three quarters.

Gold spreads by 0.5 and by 2. On its two prompts the reference has gold 1 and 1 for helpful, -2 and -4 for harmless: in
these units 2 and 2, -1 and -2, weighted -0.25 and -1.
"""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_core.evaluation.overoptimization import Goodhart
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import StageResult, WatchPoint
from rlhf_core.stages.context import Context
from rlhf_core.stages.report import climb
from tests.stages.conftest import Desk, NumberJudge

SCALE = {"helpful": 0.5, "harmless": 2.0}
WATCHED: dict[int, dict[str, dict[str, tuple[float, float]]]] = {
    0: {
        "helpful": {"proxy": (0.0, 0.0), "gold": (1.0, 1.0)},
        "harmless": {"proxy": (0.0, 0.0), "gold": (-2.0, -4.0), "auditor": (0.0, 0.0)},
    },
    # Proxy 0.5 + 0.75 and 0 + 2.25; gold 1 and 2 in its unit, -1 and -1: 0.25 - 0.75 and 0.5 - 0.75.
    10: {
        "helpful": {"proxy": (2.0, 0.0), "gold": (0.5, 1.0)},
        "harmless": {"proxy": (1.0, 3.0), "gold": (-2.0, -2.0), "auditor": (1.0, 1.0)},
    },
}


def trained(desk: Desk, watched=WATCHED, **config: Any) -> Context:
    """A run that has done its PPO, with what was watched of it."""
    ctx = desk.context(NumberJudge(), {"weights": {"helpful": 1, "harmless": 3}, **config})
    for step, rows in watched.items():
        points = [
            WatchPoint(run_id=ctx.run.id, step=step, objective=name, kl=float(step), **values)
            for name, values in rows.items()
        ]
        desk.store.watch_points.add(points)
    made = {"id": f"policy-of-{ctx.run.id}", "run_id": ctx.run.id, "stage": "ppo", "parent": "policy-1"}
    desk.store.policy_versions.add(PolicyVersion(**made, base_model="base", artifact="0" * 64, step=10))
    ctx.results["ppo"] = StageResult(run_id=ctx.run.id, stage="ppo", policy_version=made["id"])
    return ctx


def last_gains(found: Goodhart | None) -> tuple[float, float | None]:
    assert found is not None and [point.step for point in found.points] == [0, 10]
    last = found.points[-1]
    return last.proxy.value, last.gold.value if last.gold else None


def test_the_weighted_sum_is_taken_prompt_by_prompt_in_units_of_spread(desk: Desk):
    result = climb(trained(desk), SCALE)
    # Proxy 1.25 and 2.25 from 0. Gold from -0.25 to -0.5 and from -1 to -0.25.
    assert last_gains(result) == pytest.approx((1.75, 0.25))
    assert result is not None and (result.objective, result.policy_step) == ("weighted", 10)
    assert result.points[-1].distance == pytest.approx(3.16228, abs=1e-5)


def test_a_judge_that_does_not_know_every_objective_says_nothing_of_their_sum(desk: Desk):
    result = climb(trained(desk), SCALE)
    assert result is not None and all(point.auditor is None for point in result.points)


def test_an_objective_without_weight_takes_no_part(desk: Desk):
    result = climb(trained(desk, weights={"helpful": 0, "harmless": 2}), SCALE)
    # Harmless alone: 1 and 3, gold from -1 to -1 and from -2 to -1; and its auditor, 1 and 1.
    assert last_gains(result) == pytest.approx((2, 0.5))
    auditor = result.points[-1].auditor if result else None
    assert auditor is not None and auditor.value == 1


def test_without_a_scale_of_gold_only_scores_are_summed(desk: Desk):
    ctx = trained(desk)
    for scale in (None, {"helpful": 0.5, "harmless": 0.0}):
        assert last_gains(climb(ctx, scale)) == (pytest.approx(1.75), None)


def test_the_weights_are_those_that_ppo_had_whatever_the_run_that_looks_has(desk: Desk):
    done = trained(desk)
    looking = desk.context(NumberJudge(), {"kind": "report", "from_run": done.run.id})
    looking.results["ppo"] = done.results["ppo"]
    assert looking.weights == {"helpful": 1, "harmless": 1}
    assert last_gains(climb(looking, SCALE)) == pytest.approx((1.75, 0.25))


def test_there_is_no_one_sum_where_the_weights_changed_on_the_way(desk: Desk):
    schedule = {"weights_at": {5: {"helpful": 1, "harmless": 1}}}
    assert climb(trained(desk, ppo={"dial": schedule}), SCALE) is None
    given = trained(desk)
    desk.store.weights.ask(given.run.id, {"helpful": 2.0, "harmless": 1.0})
    assert climb(given, SCALE) is not None, "no step has taken them up"
    desk.store.weights.take(given.run.id, given.run.fence, 5)
    assert climb(given, SCALE) is None


def test_nothing_is_measured_without_ppo_or_where_nothing_was_watched(desk: Desk):
    assert climb(desk.context(NumberJudge(), {}), SCALE) is None
    assert climb(trained(desk, watched={}), SCALE) is None
