"""How much work a run's stages are, counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.planning.records import Cost, Timed, Yields
from rlhf_core.planning.workload import Known, Work, workload

KNOWN: dict[str, Any] = {
    **{"train": 1000, "heldout": 50, "piece": 100, "objectives": ("helpful", "harmless")},
    "yields": Yields(demonstrations=0.5, examples={"helpful": 1.0, "harmless": 0.5}),
}
CONFIG: dict[str, Any] = {
    "critique": {"prompts": 200},
    "sft": {"epochs": 2, "batch_size": 16, "helpful_share": 0.5},
    "label": {"pairs": 100, "candidates": 4, "steered_share": 0.2},
    "feedback": {"critic": {"method": "contrast"}},
    "reward": {"epochs": 3, "batch_size": 8, "heldout_share": 0.2, "reference": False},
    "norm": {"prompts": 30, "samples": 2},
    "ppo": {"steps": 25, "eval_every": 10, "eval_prompts": 20, "control_steps": 5},
    "evaluation": {"prompts": 40, "training_prompts": 60, "skills": 0},
}


def counted(**changes: Any) -> dict[str, list[Work]]:
    config = RunConfig.model_validate(CONFIG | changes)
    return dict(workload(config, Known(critique=config.critique, **KNOWN)))


def test_each_stage_is_counted_as_the_run_will_do_it():
    work = counted()
    assert work["critique"] == [Work("write", 200, 100), Work("criticise", 200, 100)]
    # Half of 200 answers teach, and as many of the base's own: 13 batches of 16, twice.
    assert work["sft"] == [Work("write", 100, 64), Work("tune", 26)]
    # 20 steered pairs are two replies each; of 80 others one, and four candidates for the second.
    assert work["label"] == [Work("write", 40 + 80 * 5, 250), Work("compare", 100, 64)]
    # 80 and 40 examples are 10 and 5 batches of 8, three times; 20 held-out pairs, and all 100 for people's order.
    assert work["reward"] == [Work("reward", 45), Work("score", 2 * (20 + 100), 256)]
    assert work["norm_pack"] == [Work("write", 60, 128), Work("score", 60, 256)]
    # Looks before the first step, and after steps 1, 10, 20 and 25.
    assert work["ppo"] == [Work("step", 25), Work("write", 100, 20), Work("score", 100, 20)]
    assert work["control"] == [Work("step", 5)]
    assert work["evaluate"] == [Work("write", 400, 64), Work("score", 400, 256)]
    assert work["report"] == []


def test_rehearsed_and_replayed_texts_are_written_first():
    assert counted(sft=CONFIG["sft"] | {"rehearsal_coef": 1})["sft"][1] == Work("write", 64, 16)
    replaying = CONFIG["ppo"] | {"ptx_coef": 1}
    assert counted(ppo=replaying)["ppo"][:2] == [Work("write", 512, 64), Work("step", 25)]
    own = counted(ppo=replaying, data={"replay": "rows.jsonl"})["ppo"]
    assert own[0] == Work("step", 25)


def test_skills_are_tested_in_a_world_alone():
    skilled = CONFIG | {"evaluation": CONFIG["evaluation"] | {"skills": 96}}
    config = RunConfig.model_validate(skilled)
    for world in (True, False):
        known = Known(critique=config.critique, **KNOWN, world=world)
        assert (Work("skill", 96, 64) in workload(config, known)["evaluate"]) is world


def test_evaluation_alone_asks_all_policies_as_a_pipeline_does():
    alone = counted(kind="evaluate", from_run="run-1")
    assert alone == {"evaluate": counted()["evaluate"]}


def test_a_trunk_reads_the_replies_of_all_objectives_once_and_auditors_share_the_prompts():
    trunk = CONFIG["reward"] | {"layout": "trunk"}
    assert counted(reward=trunk)["reward"][0] == Work("reward", 30)
    # One head contradicts nobody, so that there is no order.
    assert counted(reward=trunk | {"members": 1})["reward"][1] == Work("score", 2 * 20, 256)
    audited = counted(reward=CONFIG["reward"] | {"auditor_share": 0.25})
    # 60 and 20 examples, 30 and 10: 8 + 3 and 4 + 2 batches.
    assert audited["reward"] == [Work("reward", 51), Work("score", 2 * (2 * 20 + 100), 256)]
    assert audited["norm_pack"][1] == Work("score", 120, 256)


def test_only_the_stages_that_the_run_goes_through_count():
    assert list(counted(start_at="ppo", from_run="run-1")) == ["ppo", "control", "evaluate", "report"]


def test_a_cost_is_the_line_through_two_measurements():
    cost = Cost.between(
        Timed(items=10, seconds=3.0, requests=20, tokens=100), Timed(items=30, seconds=5.0, requests=60, tokens=300)
    )
    assert (cost.call_seconds, cost.item_seconds, cost.requests, cost.tokens) == pytest.approx((2.0, 0.1, 2.0, 10.0))
    # 70 items in calls of at most 30 are three calls.
    assert cost.seconds(70, 30) == pytest.approx(3 * 2.0 + 70 * 0.1) and cost.seconds(0, 30) == 0
    falling = Cost.between(Timed(items=10, seconds=3.0), Timed(items=30, seconds=2.0))
    assert falling.call_seconds == 0 and falling.item_seconds == pytest.approx(2.0 / 30)
