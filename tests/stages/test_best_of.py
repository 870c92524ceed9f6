"""Best-of-n as a test that reward models pass or fail before PPO, with scores that are known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from rlhf_core.errors import TrainingFailed
from rlhf_core.records.models import Score
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.stages.norm_pack import BEST_OF, choose_best
from tests.stages.conftest import Desk, NumberJudge, quality
from tests.stages.test_audit import PACK

AUDITORS = PACK.model_copy(update={"id": "auditors", "reward_models": ("honest", "opposed")})
SIGN = {"a": 1, "b": 1, "honest": 1, "opposed": -1}
"""Reward model -> whether a bigger number pleases it: the auditor of harmless disagrees with its reward model."""


class NumberScorer:
    def score(self, samples: list[Sample], reward_models: list[str]) -> list[Score]:
        return [
            Score(sample_id=s.id, objective="", reward_model=model, score=SIGN[model] * quality(s.response) / 10)
            for model in reward_models
            for s in samples
        ]


def chosen(desk: Desk, **norm: Any) -> int:
    ctx = desk.context(NumberJudge(), {"kind": "norm_pack", "norm": {"best_of": 8, "best_of_prompts": 12, **norm}})
    prompts = tuple(Prompt.of(f"How many, {n}?", split="heldout") for n in range(20))
    gold = SimpleNamespace(score=lambda *_: {}, harm_by_kind=lambda *_: {})
    world: Any = SimpleNamespace(prompts=prompts, gold=gold)
    scorer: Any = NumberScorer()
    ctx = ctx._replace(tools=ctx.tools._replace(world=world, scorer=scorer))
    count = choose_best(ctx, "policy-1", PACK, AUDITORS)
    assert len(desk.store.samples.of_run(ctx.run.id, stage=BEST_OF)) == count
    return count


def test_a_model_whose_auditor_sees_a_gain_is_accepted_and_the_other_is_not(desk: Desk):
    assert chosen(desk) == 8 * 12
    helpful, harmless = desk.notes
    assert "helpful: the best of 8" in helpful and "by its auditor: accepted" in helpful
    assert "harmless: the best of 8" in harmless and "NOT accepted" in harmless


def test_a_run_may_insist_on_a_gain(desk: Desk):
    with pytest.raises(TrainingFailed, match="the reward model of harmless is not accepted: choosing the best of 8"):
        chosen(desk, require_gain=True)
