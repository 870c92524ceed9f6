"""Which labels a reward model learns from, and what each weighs: those of people more, by `reward.human_weight`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_core.data.reward_examples import Ranking, Rating
from rlhf_core.feedback.line_grades import WRONG
from rlhf_core.feedback.templates import COMPARE_HASH
from rlhf_core.records.annotation import AnnotatorChange
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.feedback import Preference
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.reward_data import labels_of
from tests.records import judge_gate
from tests.stages.conftest import Desk, NumberJudge


def prefer(desk: Desk, run_id: str, labeler: str, asked: str, weight: float, choice: str = "a") -> None:
    """A label on a pair of its own."""
    prompt = Prompt.of(asked)
    a, b = (
        Sample(id=f"{asked}{side}", prompt=prompt, response=side, policy_version="policy-1") for side in ("yes", "no")
    )
    pair = Comparison.of(a, b, run_id)
    desk.store.comparisons.add([pair])
    label = {"id": asked, "comparison_id": pair.id, "objective": "helpful", "labeler": labeler, "choice": choice}
    given = Preference.model_validate(label | {"probability": 0.75, "weight": weight, "run_id": run_id})
    desk.store.preferences.add([given])


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


def test_people_s_ratings_and_rankings_teach_by_the_human_weight(desk: Desk):
    ctx = desk.context(NumberJudge(), {"kind": "label", "reward": {"human_weight": 3.0}})
    ctx.results["label"] = StageResult(run_id=ctx.run.id, stage="label")
    prompt = Prompt.of("Which?")
    texts = ("1 a", "2 b", "3 c")
    desk.store.samples.add([Sample(id=t, prompt=prompt, response=t, policy_version="policy-1") for t in texts])
    said = {"objective": "helpful", "labeler": "human:ada"}
    for number, one in enumerate((
        {"form": "rating", "item_id": "1 a", "sample_ids": ("1 a",), "rating": 2},
        {"form": "ranking", "item_id": prompt.id, "sample_ids": texts, "ranks": (2, 1, 1)},
        {"form": "rating", "item_id": "2 b", "sample_ids": ("2 b",), "skipped": True},
        {"form": "rating", "item_id": "3 c", "sample_ids": ("3 c",), "rating": 6, "objective": "harmless"},
    )):  # fmt: skip
        desk.store.assessments.submit(Assessment.model_validate({"id": f"{number}", **said, **one}))
    assert labels_of(ctx, "helpful").labels == [
        Rating(prompt, "1 a", 2.0, 3.0, "human"),
        Ranking(prompt, texts, (2.0, 1.0, 1.0), 3.0, "human"),
    ]
    desk.store.annotators.change(AnnotatorChange(labeler="human:ada", standing="paused"))
    assert labels_of(ctx, "helpful").labels == [], "who is shut out teaches nothing"


LINES = "1. 5 of x\n2. 7 of x", "1. 9 of x"
NOTES = "A:\n1. safe 5\n2. safe wrong\nB:\n1. safe 9\nBetter: helps B"


def noted(desk: Desk, reward: dict[str, object], pairs: int = 1) -> Context:
    """A run whose judge took the same notes on every pair."""
    ctx = desk.context(NumberJudge(), {"kind": "label", "reward": reward})
    ctx.results["label"] = StageResult(run_id=ctx.run.id, stage="label")
    for number in range(pairs):
        asked = Prompt.of(f"How many, {number}?")
        a, b = (Sample(id=f"{number}{text}", prompt=asked, response=text, policy_version="p") for text in LINES)
        pair = Comparison.of(a, b, ctx.run.id)
        desk.store.comparisons.add([pair])
        votes = NumberJudge(lambda first, second: 0.0).compare(
            [(pair, ctx.constitution.principle(name)) for name in ("big", "large")]
        )
        texts = [NOTES if not vote.swapped else "A:\n1. safe 9\nB:\n1. safe 5\n2. safe 0" for vote in votes]
        desk.store.votes.add(
            vote.model_copy(update={"protocol": "notes", "text": text}) for vote, text in zip(votes, texts, strict=True)
        )
    return ctx


def test_what_a_judge_noted_of_lines_is_a_label_of_each_reply(desk: Desk):
    first, second = labels_of(noted(desk, {"process": ["helpful"]}), "helpful").graded
    assert desk.notes == [], "one judge alone labelled"
    # Two principles of weight 1; a line that is wrong in one order's notes and worth nothing in the other's.
    assert (first.reply, first.grades) == (LINES[0], (10, WRONG))
    assert (second.reply, second.grades) == (LINES[1], (18,))


@pytest.mark.parametrize("reward", [{"process": ["harmless"]}, {"process": ["*"], "graded": False}, {"process": []}])
def test_lines_are_labels_only_of_objectives_whose_models_read_lines(desk: Desk, reward: dict[str, object]):
    assert labels_of(noted(desk, reward), "helpful").graded == []


def test_labels_that_are_turned_round_turn_their_lines_too(desk: Desk):
    graded = labels_of(noted(desk, {"process": ["*"], "flip_share": 0.5}, pairs=40), "helpful").graded
    turned = [label for label in graded if label.grades in ((-10, -WRONG), (-18,))]
    assert len(graded) == 80 and 24 <= len(turned) <= 56
    assert {label.prompt.id for label in turned}.isdisjoint(
        label.prompt.id for label in graded if label not in turned
    ), "both replies of a pair"


@pytest.mark.parametrize(("better", "graded"), [("b", 12), ("a", 0)])
def test_grades_that_contradict_the_judges_own_labels_are_about_something_else(desk: Desk, better: str, graded: int):
    ctx = noted(desk, {"process": ["*"]}, pairs=6)  # by the notes b gives more
    for number, pair in enumerate(desk.store.comparisons.of_run(ctx.run.id)):
        label = {"id": f"label-{number}", "comparison_id": pair.id, "objective": "helpful", "labeler": "ai:judge"}
        label |= {"choice": better, "probability": 0.9 if better == "a" else 0.1, "run_id": ctx.run.id}
        desk.store.preferences.add([Preference.model_validate(label)])
    assert len(labels_of(ctx, "helpful").graded) == graded


def test_a_judge_that_graded_less_than_half_of_the_replies_taught_by_pairs(desk: Desk):
    ctx = noted(desk, {"process": ["*"]}, pairs=2)
    assert len(labels_of(ctx, "helpful").graded) == 4
    for number in range(3):
        prefer(desk, ctx.run.id, "ai:judge", f"Unread, {number}?", 1.0)
    assert labels_of(ctx, "helpful").graded == []


def seated(desk: Desk, run: str, **weights: float) -> None:
    """The gates of a panel of judges who take notes, and of all together."""
    for name, weight in weights.items():
        told = {"id": name, "run_id": run, "judge": name, "panel": "panel-1", "model": name, "weight": weight}
        desk.store.gates.add(judge_gate(**told, protocol="notes", template_hash=COMPARE_HASH))
    desk.store.gates.add(judge_gate(id="whole", run_id=run, judge="panel-1"))


@pytest.mark.parametrize(("weights", "grades"), [((1.0, 1.0), 10), ((0.0, 1.0), 2), ((0.0, 0.0), None)])
def test_lines_are_those_of_the_first_judge_of_a_panel_that_counts(
    desk: Desk, weights: tuple[float, float], grades: int
):
    """Of all votes together none could be read: each judge says something else of a line."""
    ctx = noted(desk, {"process": ["*"]})
    pair = desk.store.comparisons.of_run(ctx.run.id)[0]
    other = NumberJudge(lambda first, second: 0.0, name="other")
    votes = other.compare([(pair, ctx.constitution.principle(name)) for name in ("big", "large")])
    texts = ["A:\n1. x 1\n2. x 1\nB:\n1. x 3", "A:\n1. x 3\nB:\n1. x 1\n2. x 1"]
    desk.store.votes.add(vote.model_copy(update={"protocol": "notes", "text": texts[vote.swapped]}) for vote in votes)
    seated(desk, ctx.run.id, judge=weights[0], other=weights[1])
    graded = labels_of(ctx, "helpful").graded
    assert [one.grades[0] for one in graded[:1]] == ([] if grades is None else [grades])
    who = "judge" if weights[0] else "other"
    told = f"'helpful' is learned from what the judge '{who}' said of single lines; the panel's labels only measure"
    assert [told in note for note in desk.notes] == ([] if grades is None else [True]), "the run says whose they are"
