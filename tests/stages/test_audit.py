"""When PPO ends: the rule reads the watched steps that the store holds, and gold is none of its business."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.records.runs import StageResult, WatchPoint
from rlhf_core.records.samples import Prompt
from rlhf_core.stages.ppo_watch import Audit
from tests.records import norm_pack
from tests.stages.conftest import Desk, NumberJudge

PACK = norm_pack()
HACKED = {0: (0.0, 0.0), 1: (1.0, 1.0), 2: (2.0, 0.5), 3: (3.0, 0.2)}
"""Step -> what the reward model and the auditor of harmless give."""


def audit(desk: Desk, stop: dict[str, Any], audited: bool = True) -> Audit:
    ctx = desk.context(NumberJudge(), {"kind": "ppo", "ppo": {"stop": stop}})
    world: Any = SimpleNamespace(prompts=(Prompt.of("How many?", split="heldout"),))
    ctx = ctx._replace(tools=ctx.tools._replace(world=world))
    ctx.results["norm_pack"] = StageResult(
        run_id=ctx.run.id, stage="norm_pack", norm_pack="pack", auditor_pack="pack" if audited else ""
    )
    desk.store.norm_packs.add(PACK)
    for step, (proxy, auditor) in HACKED.items():
        spread = (-0.01, 0.0, 0.01)
        given = {"proxy": tuple(proxy + s for s in spread), "auditor": tuple(auditor + s * step for s in spread)}
        fine = {"proxy": given["proxy"], "auditor": given["proxy"]}
        points = [
            WatchPoint(run_id=ctx.run.id, step=step, objective=name, kl=float(step), gold=(9.0 - step,) * 3, **values)
            for name, values in (("helpful", fine), ("harmless", given))
        ]
        desk.store.watch_points.add(points)
    unused: Any = None
    return Audit(ctx, unused, unused, PACK, {})


def test_ppo_ends_where_an_auditor_has_fallen_for_as_long_as_patience_lasts(desk: Desk):
    result = audit(desk, {"parted": "stop", "patience": 2})
    assert [result.verdict(step, 1.0) for step in (1, 2)] == ["", ""]
    assert result.verdict(3, 1.0) == "harmless: the reward model's score rises and its auditor's falls"
    # Weights 1 and 1: 1 + 1 at step 1, 2 + 0.5 at step 2, 3 + 0.2 at step 3.
    assert [result.best(step, {"helpful": 1, "harmless": 1}) for step in (1, 2, 3)] == [1, 2, 3]
    # 1.1, 0.7 and 0.5 where helpful counts a tenth.
    assert result.best(3, {"helpful": 0.1, "harmless": 1}) == 1
    # Of a step that is left out nothing can be kept.
    assert result.best(3, {"helpful": 0.1, "harmless": 1}, lambda number: number != 1) == 2
    assert desk.notes == []


def test_a_warning_is_noted_once_and_nothing_ends(desk: Desk):
    result = audit(desk, {"parted": "warn", "patience": 1})
    assert [result.verdict(step, 1.0) for step in (1, 2, 3, 3)] == [""] * 4
    assert len(desk.notes) == 1 and "PPO step 2, harmless" in desk.notes[0]


def test_a_policy_that_is_too_far_ends_ppo_whatever_the_auditors_say(desk: Desk):
    result = audit(desk, {"parted": "ignore", "max_kl": 4.0}, audited=False)
    assert result.verdict(3, 4.0) == ""
    assert result.verdict(3, 4.5) == "KL 4.50 nats per response; ppo.stop.max_kl is 4"


def test_stopping_for_auditors_needs_auditors(desk: Desk):
    with pytest.raises(InvalidInput, match="the reward models have none"):
        audit(desk, {"parted": "stop"}, audited=False)
