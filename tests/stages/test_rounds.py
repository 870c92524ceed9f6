"""Another round: pairs of what PPO made, judged anew, and reward models that learn from all rounds."""

from __future__ import annotations

import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.stages.label import label_stage
from rlhf_core.stages.labelling.rounds import label_runs
from rlhf_core.stages.reward_data import labels_of
from tests.stages.conftest import Desk, NumberJudge

FEW = {"kind": "label", "label": {"pairs": 24, "base_share": 0.25}, "gate": {"pairs": 5}}


def first_round(desk: Desk) -> str:
    """A run that labelled, and whose PPO is done."""
    ctx = desk.context(NumberJudge(), FEW)
    desk.store.stage_results.add(label_stage(ctx))
    desk.store.stage_results.add(StageResult(run_id=ctx.run.id, stage="ppo", policy_version="policy-2"))
    desk.store.runs.release(ctx.run.id, ctx.run.fence, "SUCCEEDED")
    return ctx.run.id


def next_round(desk: Desk, before: str):
    label = {**FEW["label"], "on_policy": True}
    # Another seed, as this sampler writes the same for every policy, and equal texts are one comparison.
    return desk.context(NumberJudge(), {**FEW, "label": label, "from_run": before, "seed": 3})


def test_a_next_round_compares_samples_of_the_policy_that_ppo_trained(desk: Desk):
    before = first_round(desk)
    ctx = next_round(desk, before)
    result = label_stage(ctx)
    assert result.policy_version == "policy-2"
    pairs = desk.store.comparisons.of_run(ctx.run.id)
    assert {pair.a.policy_version for pair in pairs} == {"policy-2"}
    assert {pair.b.policy_version for pair in pairs} == {"policy-2", BASE_POLICY}
    assert not {pair.id for pair in pairs} & {pair.id for pair in desk.store.comparisons.of_run(before)}


def test_reward_models_learn_from_the_labels_of_all_rounds(desk: Desk):
    first = first_round(desk)
    ctx = next_round(desk, first)
    ctx.results["label"] = label_stage(ctx)
    own, earlier = (
        sum(not label.abstained for label in desk.store.preferences.find("helpful", run_id=run, labelers="ai"))
        for run in (ctx.run.id, first)
    )
    assert own > 5 and earlier > 5
    assert len(labels_of(ctx, "helpful").labels) == own + earlier
    assert label_runs(ctx, ctx.run.id) == [ctx.run.id, first] and label_runs(ctx, first) == [first]


def test_a_round_needs_a_policy_that_ppo_trained(desk: Desk):
    ctx = desk.context(NumberJudge(), FEW)
    desk.store.stage_results.add(label_stage(ctx))
    desk.store.runs.release(ctx.run.id, ctx.run.fence, "SUCCEEDED")
    with pytest.raises(InvalidInput, match=f"label.on_policy: run '{ctx.run.id}' has trained no policy by PPO"):
        label_stage(next_round(desk, ctx.run.id))


def test_a_share_of_the_labels_can_be_turned_round_to_study_noise(desk: Desk):
    before = first_round(desk)
    reward = {"kind": "reward", "from_run": before}
    plain, noisy, all_turned = (
        desk.context(NumberJudge(), {**reward, "reward": {"flip_share": share}}) for share in (0.0, 0.3, 1.0)
    )
    result = desk.store.stage_results.of_run(before)["label"]
    for ctx in (plain, noisy, all_turned):
        ctx.results["label"] = result
    p, q, r = ([label.probability for label in labels_of(c, "helpful").labels] for c in (plain, noisy, all_turned))
    assert r == [1 - one for one in p]
    turned = sum(a != b for a, b in zip(p, q, strict=True))
    assert 0 < turned < len(p) / 2 and all(b in (a, 1 - a) for a, b in zip(p, q, strict=True))
