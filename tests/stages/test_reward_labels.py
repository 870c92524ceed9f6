"""What each label weighs: those of people and of the user's own files more than the AI's, by `reward.human_weight`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_core.feedback.votes import comparison_of
from rlhf_core.records import Preference, Prompt, Sample
from rlhf_core.run_records import StageResult
from rlhf_core.stages.reward_labels import labels_of
from tests.stages.conftest import Desk, NumberJudge


def prefer(desk: Desk, run_id: str, labeler: str, asked: str, weight: float, choice: str = "a") -> None:
    """A label on a pair of its own."""
    prompt = Prompt.of(asked)
    a, b = (
        Sample(id=f"{asked}{side}", prompt=prompt, response=side, policy_version="policy-1") for side in ("yes", "no")
    )
    pair = comparison_of(a, b, run_id)
    desk.store.add_comparisons([pair])
    label = {"id": asked, "comparison_id": pair.id, "objective": "helpful", "labeler": labeler, "choice": choice}
    given = Preference.model_validate(label | {"probability": 0.75, "weight": weight, "run_id": run_id})
    desk.store.add_preferences([given])


@pytest.mark.parametrize("human_weight", [0.0, 1.0, 4.0])
def test_the_human_weight_multiplies_the_labels_of_people_and_files_and_leaves_the_ais_alone(
    desk: Desk, tmp_path: Path, human_weight: float
):
    own, rated = tmp_path / "own.jsonl", tmp_path / "rated.jsonl"
    own.write_text(json.dumps({"prompt": "Mine?", "chosen": "yes", "rejected": "no"}))
    rated.write_text(json.dumps({"prompt": "Rated?", "response": "yes", "rating": 4, "weight": 0.25}))
    data = {"preferences": str(own), "preferences_objective": "helpful", "labels": {"helpful": str(rated)}}
    ctx = desk.context(NumberJudge(), {"kind": "label", "reward": {"human_weight": human_weight}, "data": data})
    ctx.results["label"] = StageResult(run_id=ctx.run.id, stage="label")
    prefer(desk, ctx.run.id, "ai:judge", "Judged?", 1.0)
    prefer(desk, ctx.run.id, "ai:judge", "Judged lightly?", 0.5)
    prefer(desk, ctx.run.id, "human:ada", "Read?", 1.0)
    prefer(desk, ctx.run.id, "human:ada", "Read lightly?", 0.5)
    prefer(desk, ctx.run.id, "human:ada", "Skipped?", 1.0, choice="skip")
    weights = {
        (label.source, label.prompt.messages[-1].content): label.weight for label in labels_of(ctx, "helpful").labels
    }
    assert weights == {
        ("ai", "Judged?"): 1.0,
        ("ai", "Judged lightly?"): 0.5,
        ("human", "Read?"): human_weight,
        ("human", "Read lightly?"): human_weight / 2,
        ("data", "Mine?"): human_weight,
        ("data", "Rated?"): human_weight / 4,
    }
