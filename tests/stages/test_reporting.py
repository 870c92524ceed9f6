"""What the report takes from the store: this run's own numbers, and of other runs only those of stages taken over."""

from __future__ import annotations

from collections import Counter

from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult, StepMetrics
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages import report
from rlhf_core.stages.label_votes import vote_on
from tests.stages.conftest import Desk, NumberJudge


def test_a_curve_is_that_of_the_run_that_did_the_stage_and_not_of_a_longer_one_before_it(desk: Desk):
    ctx = desk.context(NumberJudge(), {})
    first = desk.store.runs.create("pipeline", "{}", "law", "").id
    for run, stage, steps in ((first, "sft", 2), (first, "ppo", 5), (ctx.run.id, "ppo", 3)):
        for step in range(1, steps + 1):
            row = StepMetrics(stage=stage, step=step, steps=steps, values={"kl": float(step * len(run))})
            desk.store.events.append(run, "metrics", row.model_dump_json())
        ctx.results[stage] = StageResult(run_id=run, stage=stage)
    result = {curve.stage: curve for curve in report._curves(ctx)}
    assert result["sft"].steps == (1, 2)
    assert result["ppo"].steps == (1, 2, 3) and len(result) == 2


def test_votes_of_another_judge_on_the_same_pairs_are_not_counted(desk: Desk):
    ctx = desk.context(NumberJudge(), {})
    made = {"prompt": Prompt.of("How many?"), "policy_version": "p", "run_id": ctx.run.id}
    a, b = (Sample(id=f"s{n}", response=f"{n} of x", **made) for n in (1, 2))
    pair = Comparison.of(a, b, ctx.run.id)
    desk.store.comparisons.add([pair])
    asked = []
    for judge, context in ((NumberJudge(), ctx), (NumberJudge(name="other"), desk.context(NumberJudge(), {}))):
        asked += vote_on(context, judge, [pair], ctx.constitution.objective_names, Counter())
    label = Preference(id="l", comparison_id=pair.id, objective="helpful", labeler="ai:judge", choice="a")
    desk.store.preferences.add([label.model_copy(update={"run_id": ctx.run.id})])
    ctx.results["label"] = StageResult(run_id=ctx.run.id, stage="label")
    summary = report._feedback(ctx, {})
    assert len(desk.store.votes.find()) == 12 and summary is not None and summary.votes == len(asked[0].votes) == 6
