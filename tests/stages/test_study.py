"""The stage that draws a study's replies, the pairs that it makes, and that nothing is trained on their labels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.data.reward_examples import Rating
from rlhf_core.errors import InvalidInput
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.feedback import Preference
from rlhf_core.records.samples import Prompt
from rlhf_core.records.studies import StudyPlan
from rlhf_core.stages.context import Context
from rlhf_core.stages.reward_data import labels_of
from rlhf_core.stages.study import schedule, study_stage
from tests.stages.conftest import Desk, NumberJudge, NumberSampler

ALIKE = ("How many, 3?", "How many, 4?")
PLAN = StudyPlan(policies=("base", "policy-1", "policy-2"), objectives=("helpful",), pairs=20)


class Writers(NumberSampler):
    """Each policy writes its name behind its reply, but to two prompts, on which all say the same."""

    def generate(self, prompts: Sequence[Prompt], *, policy_version: str, n: int = 1, seed: int = 0, **settings: Any):
        drawn = super().generate(prompts, policy_version=policy_version, n=n, seed=seed, **settings)
        signed = (sample.prompt.messages[-1].content not in ALIKE for sample in drawn)
        return [
            sample.model_copy(update={"response": f"{sample.response} {policy_version}"}) if own else sample
            for sample, own in zip(drawn, signed, strict=True)
        ]


def drawing(desk: Desk, folder: Path, plan: StudyPlan = PLAN, prompts: int = 9, seed: int = 0) -> Context:
    file = folder / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": f"How many, {number}?"}) + "\n" for number in range(prompts)))
    desk.sampler = Writers()
    settings = {"kind": "study", "seed": seed, "data": {"prompts": str(file)}}
    ctx = desk.context(NumberJudge(), settings, gold=False)
    desk.store.studies.add(ctx.run.id, plan)
    return ctx


def test_each_prompt_comes_once_before_any_comes_again_and_policies_meet_as_often_as_each_other():
    prompts = [Prompt.of(f"{number}?") for number in range(9)]
    meetings = schedule(prompts, PLAN)
    assert len(meetings) == 20 and len({(one.prompt.id, one.first, one.second) for one in meetings}) == 20
    assert [one.prompt for one in meetings[:9]] == prompts
    counts = Counter((one.first, one.second) for one in meetings)
    assert sorted(counts.values()) == [6, 7, 7]
    assert len(schedule(prompts, PLAN.model_copy(update={"pairs": 100}))) == 27


def test_replies_are_written_once_and_pairs_say_who_wrote_what_with_sides_by_lot(desk: Desk, tmp_path: Path):
    ctx = drawing(desk, tmp_path)
    result = study_stage(ctx)
    calls = desk.sampler.calls
    pairs, store = desk.store.studies.pairs(ctx.run.id), desk.store
    alike = {Prompt.of(text).id for text in ALIKE}
    assert 4 <= result.counts["identical"] <= 6, "each prompt is asked two or three times"
    assert result.counts["pairs"] == len(pairs) == 20 - result.counts["identical"]
    assert not alike & {row.prompt_id for row in pairs}
    for row, pair in zip(pairs, store.comparisons.of_run(ctx.run.id), strict=True):
        assert (row.comparison_id, row.prompt_id) == (pair.id, pair.prompt.id)
        assert (row.a_policy, row.b_policy) == (pair.a.policy_version, pair.b.policy_version)
        assert (row.a_words, row.b_words) == (len(pair.a.response.split()), len(pair.b.response.split()))
    places = [PLAN.policies.index(row.a_policy) < PLAN.policies.index(row.b_policy) for row in pairs]
    assert {True, False} == set(places)
    assert [question.objective for question in store.studies.questions(ctx.run.id)] == ["helpful"]
    assert study_stage(ctx).counts == result.counts, "after a crash the stage is done again"
    assert desk.sampler.calls == calls and store.studies.pairs(ctx.run.id) == pairs


def test_a_study_without_a_plan_or_without_prompts_is_refused(desk: Desk, tmp_path: Path):
    with pytest.raises(InvalidInput, match="heldout"):
        ctx = desk.context(NumberJudge(), {"kind": "study"})
        desk.store.studies.add(ctx.run.id, PLAN)
        study_stage(ctx)


def test_every_reply_is_rated_in_a_random_order_and_the_same_words_once(desk: Desk, tmp_path: Path):
    ctx = drawing(desk, tmp_path, PLAN.model_copy(update={"ratings_per_reply": 2, "pairs": 27}))
    study_stage(ctx)
    store, alike = desk.store, {Prompt.of(text).id for text in ALIKE}
    rows = store.study_ratings.replies(ctx.run.id)
    assert Counter(row.policy for row in rows) == dict.fromkeys(PLAN.policies, 9), "one to each prompt"
    shown = {row.sample_id for row in rows}
    assert len(shown) == 7 * 3 + 2, "of the two prompts on which all say the same each reply is shown once"
    assert {row.sample_id: row.place for row in rows}.keys() == shown
    assert sorted({row.place for row in rows}) == list(range(23))
    samples = store.samples.by_id(shown)
    for row in rows:
        own = samples[row.sample_id]
        assert own.prompt.id == row.prompt_id and (own.policy_version == row.policy or row.prompt_id in alike)
    order = [row.policy for row in rows if row.prompt_id not in alike]
    assert order != sorted(order) and len(set(order[:7])) > 1
    [question] = store.studies.questions(ctx.run.id, "ratings")
    assert (question.objective, question.wanted) == ("helpful", 2)
    assert study_stage(ctx).counts["pairs"] == 21 and store.study_ratings.replies(ctx.run.id) == rows


def test_nothing_is_trained_on_the_ratings_of_a_study(desk: Desk, tmp_path: Path):
    ctx = drawing(desk, tmp_path, PLAN.model_copy(update={"ratings_per_reply": 1}))
    study_stage(ctx)
    rows = desk.store.study_ratings.replies(ctx.run.id)
    own = desk.store.samples.get(rows[0].sample_id)
    other = own.model_copy(update={"id": "other", "run_id": "run"})
    desk.store.samples.add([other])
    for number, sample in enumerate((own, other)):
        said = {"item_id": sample.id, "sample_ids": (sample.id,), "rating": 3 + number, "run_id": sample.run_id}
        given = {"id": f"{number}", "form": "rating", "objective": "helpful", "labeler": "human:ada", **said}
        desk.store.assessments.submit(Assessment.model_validate(given))
    data = {"preferences": str(tmp_path / "rows.jsonl"), "preferences_objective": "helpful"}
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "chosen": "x", "rejected": "y"}\n')
    training = desk.context(NumberJudge(), {"kind": "reward", "data": data}, gold=False)
    found = [label for label in labels_of(training, "helpful").labels if label.source == "human"]
    assert [one.rating for one in found if isinstance(one, Rating)] == [4.0], "that of the other reply alone"
    assert [one.rating for one in desk.store.study_ratings.ratings(ctx.run.id, "helpful")] == [3]


def test_nothing_is_trained_on_the_labels_of_a_study(desk: Desk, tmp_path: Path):
    ctx = drawing(desk, tmp_path)
    study_stage(ctx)
    pair = desk.store.comparisons.of_run(ctx.run.id)[0]
    common = {"comparison_id": pair.id, "objective": "helpful", "choice": "a", "probability": 1.0}
    desk.store.preferences.add([Preference(id="x", labeler="human:ada", run_id=ctx.run.id, **common)])
    other = pair.model_copy(update={"id": "other", "run_id": "run"})
    desk.store.comparisons.add([other])
    label = Preference(id="y", labeler="human:ada", run_id="run", **common | {"comparison_id": "other"})
    desk.store.preferences.add([label])
    data = {"preferences": str(tmp_path / "rows.jsonl"), "preferences_objective": "helpful"}
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "chosen": "x", "rejected": "y"}\n')
    training = desk.context(NumberJudge(), {"kind": "reward", "data": data}, gold=False)
    found = [label for label in labels_of(training, "helpful").labels if label.source == "human"]
    assert [label.prompt.id for label in found] == [pair.prompt.id], "that of the other pair alone"
