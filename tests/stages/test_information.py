"""What labels would tell: by the heads of a tiny real reward model, beside what the judge and people have said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlhf_core.config.run import LoraConfig, ModelConfig
from rlhf_core.errors import CharterError
from rlhf_core.feedback.pair_information import expected_information
from rlhf_core.models.backbone import Backbone
from rlhf_core.models.base_models import Bases
from rlhf_core.records.feedback import Choice, Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.labelling import information
from rlhf_core.stages.reward import reward_stage
from rlhf_core.stages.versions import load_reward_models
from tests.stages.conftest import Desk, NumberJudge


def pairs(run_id: str) -> list[Comparison]:
    made = []
    for number in range(6):
        prompt = Prompt.of(f"How many, {number}?")
        both = [
            Sample(
                id=f"{side}{number}", prompt=prompt, response=f"{number} {side}", policy_version="base", run_id=run_id
            )
            for side in "ab"
        ]
        made.append(Comparison.of(*both, run_id))
    return made


@pytest.fixture
def labelled(desk: Desk, tiny_model: Callable[[str], Backbone]):
    """`labelled(reward settings)`: a run whose six pairs have labels, before its reward stage."""

    def make(**reward: int) -> Context:
        settings = {"epochs": 1, "batch_size": 4, "heldout_share": 0.01, "members": 3, **reward}
        config = {"kind": "reward", "reward": settings, "gate": {"allow_ungated": True}}
        ctx, backbone = desk.context(NumberJudge(), config), tiny_model("llama")
        made = pairs(ctx.run.id)
        desk.store.comparisons.add(made)
        calm = ctx.constitution.principle("calm")
        desk.store.votes.add(NumberJudge().compare([(pair, calm) for pair in made[:2]]))
        desk.store.preferences.add([label(ctx, pair, "helpful", 0.8) for pair in made])
        desk.store.preferences.add([label(ctx, made[0], "harmless", 0.9), label(ctx, made[2], "harmless", 0.7)])
        unsure = {"abstained": True, "reason": "position_gap"}
        desk.store.preferences.add([label(ctx, made[1], "harmless", 0.5).model_copy(update=unsure)])
        bases = Bases(backbone, ModelConfig(base_model=backbone.name, lora=LoraConfig(rank=4, alpha=8)))
        tools = ctx.tools._replace(backbone=backbone, base_of=bases.of, on_device=lambda unit: unit())
        told = StageResult(run_id=ctx.run.id, stage="label", policy_version="base")
        return ctx._replace(tools=tools, results={"label": told})

    return make


def label(ctx: Context, pair: Comparison, objective: str, probability: float) -> Preference:
    choice: Choice = "a" if probability > 0.5 else "b"
    return Preference(
        id=f"{objective} {pair.id}",
        comparison_id=pair.id,
        objective=objective,
        labeler="ai:judge",
        choice=choice,
        probability=probability,
        run_id=ctx.run.id,
    )


def test_every_pair_of_the_labels_is_told_by_the_heads_and_by_what_the_judge_said(labelled):
    ctx = labelled()
    versions = reward_stage(ctx).reward_models
    made = pairs(ctx.run.id)
    found = {one.comparison_id: one for one in ctx.store.pair_information.find("harmless", ctx.run.id)}
    model = load_reward_models(ctx, versions, "test")["harmless"]
    scores = model.score([(pair.prompt, sample.response) for pair in made for sample in (pair.a, pair.b)])
    margins = (scores[::2] - scores[1::2]).double().numpy()
    bits = expected_information(margins)
    assert [found[pair.id].information for pair in made] == pytest.approx(bits.tolist(), abs=1e-4)
    assert [found[pair.id].abstained for pair in made] == [False, True, *[False] * 4]
    mean = float((1 / (1 + torch.exp(-torch.tensor(margins[0])))).mean())
    assert found[made[0].id].disagreement == pytest.approx(abs(0.9 - mean), abs=1e-4)
    assert [found[pair.id].coverage for pair in made] == [1.0, 1.0, 0, 0, 0, 0]
    assert len(ctx.store.pair_information.find("helpful")) == 6


def test_one_head_contradicts_nobody_and_tells_nothing(labelled):
    ctx = labelled(members=1)
    reward_stage(ctx)
    assert ctx.store.pair_information.find("harmless") == []


def test_reward_models_are_kept_whatever_happens_while_pairs_are_scored(labelled, monkeypatch: pytest.MonkeyPatch):
    ctx = labelled()
    seen: list[str] = []
    counted = ctx._replace(report=lambda kind, body: seen.append(kind))

    def fails(*_: object, **__: object) -> None:
        raise CharterError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(information, "score_all", fails)
        with pytest.raises(CharterError, match="out of memory"):
            reward_stage(counted)
    kept = ctx.store.reward_models.find(ctx.run.id)
    assert [one.objective for one in kept] == ["helpful", "harmless"]
    assert ctx.tools.backbone.adapters.names == () and ctx.store.pair_information.find("harmless") == []
    seen.clear()
    assert set(reward_stage(counted).reward_models.values()) == {one.id for one in kept}
    assert "metrics" not in seen, "nothing is trained again"
    assert len(ctx.store.pair_information.find("harmless")) == 6
