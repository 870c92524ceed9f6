"""The unit of every weight is the fine-tuned policy's, and what trains asks other prompts than what measures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.records.models import Score
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from rlhf_core.stages import context, report
from rlhf_core.stages.context import Context
from rlhf_core.stages.critique import critique_stage
from rlhf_core.stages.demonstrations import demonstrations_of
from rlhf_core.stages.evaluate import HELD_OUT, SEEN, control_policy, evaluate_stage
from rlhf_core.stages.label import label_stage
from rlhf_core.stages.norm_pack import BEST_OF, norm_pack_stage
from tests.stages.conftest import Desk, NumberJudge, NumberSampler, quality

TRAIN, HELDOUT = ([f"{kind} {n}?" for n in range(12)] for kind in ("Learn", "Measure"))


class TunedSampler(NumberSampler):
    """The fine-tuned policy writes 1 and 3 in turn, any other 51 and 53."""

    def generate(self, prompts: Sequence[Prompt], *, policy_version: str, n: int = 1, seed: int = 0, **_: Any):
        low = 1 if policy_version == "policy-1" else 51
        return [
            Sample(id="drawn", prompt=prompt, response=f"{low + k % 2 * 2} of x", policy_version=policy_version)
            for prompt in prompts
            for k in range(n)
        ]


class NumberScorer:
    """Every reward model gives the number that a reply begins with."""

    def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        return [
            Score(sample_id=s.id, objective="", reward_model=model, score=quality(s.response))
            for model in reward_models
            for s in samples
        ]


class TwiceAsManyForB(NumberScorer):
    """The second objective's model gives twice the number, so that the two cannot be taken for each other."""

    def score(self, samples: Sequence[Sample], reward_models: Sequence[str]) -> list[Score]:
        scores = super().score(samples, reward_models)
        return [s.model_copy(update={"score": 2 * s.score}) if s.reward_model == "b" else s for s in scores]


@pytest.fixture
def at_work(desk: Desk, tmp_path: Path) -> Callable[..., Context]:
    """`at_work(settings)` is a context with a file of training prompts and one of held-out prompts, 12 in each."""
    for name, texts in (("train", TRAIN), ("heldout", HELDOUT)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps({"prompt": text}) + "\n" for text in texts))

    def context(**settings: Any) -> Context:
        data = {"prompts": str(tmp_path / "train.jsonl"), "heldout_prompts": str(tmp_path / "heldout.jsonl")}
        ctx = desk.context(NumberJudge(), {"kind": "label", "data": data, **settings}, gold=False)
        ctx.results["reward"] = StageResult(
            run_id=ctx.run.id, stage="reward", reward_models={"helpful": "a", "harmless": "b"}
        )
        scorer: Any = NumberScorer()
        return ctx._replace(tools=ctx.tools._replace(scorer=scorer))

    return context


def asked(desk: Desk, ctx: Context, stage: str) -> list[str]:
    """The prompts that a stage has asked a policy, each once."""
    return sorted({sample.prompt.messages[-1].content for sample in desk.store.samples.of_run(ctx.run.id, stage=stage)})


def test_the_norm_pack_is_measured_on_replies_of_the_fine_tuned_policy(desk: Desk, at_work):
    desk.sampler = TunedSampler()
    pack = desk.store.norm_packs.get(norm_pack_stage(at_work(norm={"prompts": 2, "samples": 2})).norm_pack)
    # 1, 3, 1, 3: 1 from the mean each, and 4 / 3 is the unbiased variance.
    assert pack.policy_version == "policy-1" and pack.mean == (2, 2)
    assert pack.sd == pytest.approx((1.154701, 1.154701))


def test_critique_and_labels_ask_training_prompts_alone(desk: Desk, at_work):
    ctx = at_work(label={"pairs": 48})
    critique_stage(ctx)
    label_stage(ctx)
    assert asked(desk, ctx, "critique") == asked(desk, ctx, "label") == sorted(TRAIN)


def test_the_answers_mixed_into_fine_tuning_are_to_training_prompts_alone(at_work):
    ctx = at_work(critique={"prompts": 4}, sft={"helpful_share": 0.9})
    ctx.results["critique"] = critique_stage(ctx)
    shown, counts = demonstrations_of(ctx)
    assert counts["helpful_mix"] == 8
    assert sorted(row.prompt.messages[-1].content for row in shown) == sorted(TRAIN)


def test_the_norm_pack_asks_training_prompts_and_the_best_of_n_held_out_ones(desk: Desk, at_work):
    ctx = at_work(norm={"best_of": 4}, evaluation={"bootstrap": 100})
    norm_pack_stage(ctx)
    assert asked(desk, ctx, "norm_pack") == sorted(TRAIN)
    assert asked(desk, ctx, BEST_OF) == sorted(HELDOUT)


def test_every_policy_and_the_control_answer_the_same_held_out_and_training_prompts(desk: Desk, at_work):
    ctx = at_work(evaluation={"training_prompts": 3})
    for stage, version in (("ppo", "policy-2"), ("control", "policy-3")):
        ctx.results[stage] = StageResult(run_id=ctx.run.id, stage=stage, policy_version=version)
    assert evaluate_stage(ctx).counts == {"prompts": 12, "training_prompts": 3, "samples": 60}
    seen: set[tuple[str, ...]] = set()
    for version in (BASE_POLICY, "policy-1", "policy-2", "policy-3"):
        held, trained = (
            [sample.prompt.messages[-1].content for sample in desk.store.samples.of_run(ctx.run.id, stage, version)]
            for stage in (HELD_OUT, SEEN)
        )
        assert sorted(held) == sorted(HELDOUT)
        assert len(trained) == 3 and set(trained) <= set(TRAIN)
        seen.add(tuple(sorted(trained)))
    assert len(seen) == 1


def test_the_scale_of_scores_is_measured_at_the_rollouts_temperature(desk: Desk, at_work):
    ctx = at_work(ppo={"temperature": 0.6})
    heard: list[float] = []
    draw = desk.sampler.generate

    def generate(prompts: Sequence[Prompt], *, temperature: float, **others: Any) -> list[Sample]:
        heard.append(temperature)
        return draw(prompts, **others)

    desk.sampler.generate = generate
    pack = desk.store.norm_packs.get(norm_pack_stage(ctx).norm_pack)
    assert set(heard) == {0.6} and pack.temperature == 0.6


def test_what_was_held_out_is_told_by_the_run_whatever_an_earlier_run_did_with_the_prompt(desk: Desk, at_work):
    desk.store.prompts.add(
        [Prompt.of(text, "train") for text in HELDOUT] + [Prompt.of(text, "heldout") for text in TRAIN]
    )
    ctx = at_work()
    ctx.results["ppo"] = StageResult(run_id=ctx.run.id, stage="ppo", policy_version="policy-2")
    ctx.results["evaluate"] = evaluate_stage(ctx)
    for stage, texts in ((HELD_OUT, HELDOUT), (SEEN, TRAIN)):
        policies = report._policies(ctx, stage)
        assert [policy.name for policy in policies] == ["before training", "after SFT", "after PPO"]
        for policy in policies:
            assert sorted(sample.prompt.messages[-1].content for sample in policy.samples) == sorted(texts)
            assert len(policy.scores) == 2 * len(texts)


def test_a_control_is_compared_only_where_there_is_a_ppo_beside_it(at_work):
    ctx = at_work()
    ctx.results["control"] = StageResult(run_id=ctx.run.id, stage="control", policy_version="policy-3")
    assert control_policy(ctx) == []
    ctx.results["ppo"] = StageResult(run_id=ctx.run.id, stage="ppo", policy_version="policy-2")
    assert control_policy(ctx) == [("control", "policy-3")]
    ctx.results["control"] = StageResult(run_id=ctx.run.id, stage="control")
    assert control_policy(ctx) == [], "with no steps there is no such policy"


def test_a_large_model_measures_in_pieces_and_says_how_far_it_is(desk: Desk, at_work, monkeypatch):
    def context_of(**settings: Any) -> Context:
        scorer: Any = TwiceAsManyForB()
        ctx = at_work(norm={"prompts": 5, "samples": 2}, **settings)
        return ctx._replace(tools=ctx.tools._replace(scorer=scorer))

    whole = desk.store.norm_packs.get(norm_pack_stage(context_of()).norm_pack)
    assert whole.mean[1] == 2 * whole.mean[0] > 0
    monkeypatch.setattr(context, "LARGE", 0)
    monkeypatch.setattr(context, "PIECE_OF_A_LARGE_MODEL", 2)
    told: list[dict[str, Any]] = []

    def follow(kind: str, body: str) -> None:
        told.extend([json.loads(body)] if kind == "metrics" else [])

    ctx = context_of(evaluation={"prompts": 3, "training_prompts": 2, "skills": 0})
    parted = desk.store.norm_packs.get(norm_pack_stage(ctx._replace(report=follow)).norm_pack)
    assert (parted.mean, parted.sd, parted.n) == (whole.mean, whole.sd, whole.n)
    assert [line["step"] for line in told] == [4, 8, 10, *range(12, 21, 2)] and {line["steps"] for line in told} == {20}
    told.clear()
    evaluate_stage(ctx._replace(report=follow))
    policies = told[-1]["steps"] // 5
    assert [line["step"] for line in told] == [n for k in range(policies) for n in (5 * k + 2, 5 * k + 3, 5 * k + 5)]
