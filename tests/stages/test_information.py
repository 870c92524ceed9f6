"""What labels would tell: by the heads of a tiny real reward model, beside what the judge and people have said."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rlhf_core.feedback.pair_information import expected_information
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.reward_models.reward_model import RewardModel
from rlhf_core.stages.labelling.information import information_of
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


def test_every_pair_of_the_labels_is_told_by_the_heads_and_by_what_the_judge_said(
    desk: Desk, tiny_model: Callable[[str], Backbone]
):
    ctx, backbone = desk.context(NumberJudge(), {"kind": "label"}), tiny_model("llama")
    tools = ctx.tools._replace(on_device=lambda unit: unit())
    labelled = StageResult(run_id=ctx.run.id, stage="label", policy_version="base")
    ctx = ctx._replace(tools=tools, results={"label": labelled})
    made = pairs(ctx.run.id)
    desk.store.comparisons.add(made)
    calm = ctx.constitution.principle("calm")
    desk.store.votes.add(NumberJudge().compare([(pair, calm) for pair in made[:2]]))
    common = {"objective": "harmless", "labeler": "ai:judge", "choice": "a", "run_id": ctx.run.id}
    desk.store.preferences.add(
        [
            Preference(id="x", comparison_id=made[0].id, probability=0.9, **common),
            Preference(id="y", comparison_id=made[1].id, abstained=True, reason="position_gap", **common),
        ]
    )
    torch.manual_seed(0)
    model = RewardModel.create(backbone, "told", "harmless", members=3, seed=1)
    with torch.no_grad():
        model.heads.weight.normal_()
    found = {one.comparison_id: one for one in information_of(ctx, [model])}
    scores = model.score([(pair.prompt, sample.response) for pair in made for sample in (pair.a, pair.b)])
    margins = (scores[::2] - scores[1::2]).double().numpy()
    bits = expected_information(margins)
    assert [found[pair.id].information for pair in made] == pytest.approx(bits.tolist(), abs=1e-4)
    assert [found[pair.id].abstained for pair in made] == [False, True, *[False] * 4]
    mean = float((1 / (1 + torch.exp(-torch.tensor(margins[0])))).mean())
    assert found[made[0].id].disagreement == pytest.approx(abs(0.9 - mean), abs=1e-4)
    assert [found[pair.id].coverage for pair in made] == [1.0, 1.0, 0, 0, 0, 0]
    alone = RewardModel.create(backbone, "alone", "harmless", members=1, seed=1)
    assert information_of(ctx, [alone]) == [], "one head contradicts nobody"
