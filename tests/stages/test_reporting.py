"""What the report takes from the store: this run's own numbers, and of other runs only those of stages taken over."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

from rlhf_core.config.run import RunConfig
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.records.feedback import Preference
from rlhf_core.records.models import PolicyVersion, Score
from rlhf_core.records.runs import StageResult, StepMetrics
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages import report
from rlhf_core.stages.against_production import against_production
from rlhf_core.stages.labelling.votes import vote_on
from tests.records import norm_pack
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


def answered(desk: Desk, version: str, texts: list[str], **config) -> str:
    """A finished run whose policy of this version has answered as many held-out prompts."""
    made = desk.store.runs.create("pipeline", RunConfig.model_validate(config).model_dump_json(), "law", "").id
    of_run = {"policy_version": version, "run_id": made, "stage": "evaluate"}
    samples = [
        Sample.model_validate({"id": f"{version}-{i}", "prompt": prompt, "response": text, **of_run})
        for i, (prompt, text) in enumerate(zip(HELD, texts, strict=True))
    ]
    desk.store.samples.add(samples)
    base = {"stage": "ppo", "parent": "base", "base_model": "tiny", "artifact": "a"}
    desk.store.policy_versions.add(PolicyVersion.model_validate({"id": version, "run_id": made, **base}))
    desk.store.stage_results.add(StageResult(run_id=made, stage="evaluate"))
    return made


class LengthScorer:
    """Scores a reply by its length."""

    def score(self, samples, reward_models):
        return [
            Score(sample_id=sample.id, objective="helpful", reward_model=model, score=len(sample.response))
            for model in reward_models
            for sample in samples
        ]


HELD = [Prompt.of(f"Held out {n}?", split="heldout") for n in range(10)]
LENGTHS = norm_pack(objectives=("helpful",), reward_models=("rm-1",), mean=(0.0,), sd=(2.0,))


def beside(desk: Desk, version: str, **config):
    ctx = desk.context(NumberJudge(), config)
    ctx = ctx._replace(tools=ctx.tools._replace(scorer=LengthScorer(), world=None))
    samples = desk.store.samples.by_id([f"{version}-{i}" for i in range(10)])
    return against_production(ctx, PolicyRows("after PPO", version, list(samples.values())), LENGTHS, None)


def test_a_policy_is_set_against_production_by_this_runs_reward_models(desk: Desk):
    """Replies are two characters longer: one standard deviation of 2."""
    answered(desk, "policy-old", ["abc"] * 10)
    answered(desk, "policy-new", ["abcde"] * 10)
    assert beside(desk, "policy-new") is None, "nobody is production yet"
    desk.store.aliases.promote("production", "policy-old", "ada", "", "")
    found = beside(desk, "policy-new")
    assert found is not None
    assert (found.policy_version, found.judge, found.prompts) == ("policy-old", "reward model", 10)
    assert (found.objectives["helpful"].value, found.weighted and found.weighted.value) == (1.0, 1.0)
    assert beside(desk, "policy-old") is None, "it is production itself"


def test_answers_of_another_length_are_not_set_beside(desk: Desk):
    answered(desk, "policy-old", ["abc"] * 10, model={"max_tokens": 9})
    answered(desk, "policy-new", ["abcde"] * 10)
    desk.store.aliases.promote("production", "policy-old", "ada", "", "")
    assert beside(desk, "policy-new") is None


def test_memory_is_told_in_millions_of_bytes(monkeypatch):
    """The system counts in KiB, or on a Mac in bytes."""
    monkeypatch.setattr(report.resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=1_000_000))
    told = []
    for platform in ("linux", "darwin"):
        monkeypatch.setattr(report.sys, "platform", platform)
        told.append(report.peak_memory_mb())
    assert told == [1024.0, 1.0]
