"""What a reviewer is asked to decide, and in which order."""

from __future__ import annotations

from rlhf_core.annotation.disagreements import disagreements
from rlhf_core.records.annotation import Adjudication
from rlhf_core.records.feedback import Choice, Opinion
from tests.annotation.crowds import said
from tests.annotation.test_quality import judged


def decided(pair: str, choice: Choice) -> Adjudication:
    return Adjudication(comparison_id=pair, objective="helpful", choice=choice)


def test_what_people_contradict_each_other_on_comes_first_and_the_least_clear_of_it_before_the_rest():
    answers = [said(f"agreed{n}", who, "a") for n in range(6) for who in ("ada", "bo", "cy")]
    answers += [said("equal", who, "tie") for who in ("ada", "bo", "cy")] + [said("equal", "dan", "a")]
    answers += [said("clear", "ada", "a"), said("clear", "bo", "a"), said("clear", "cy", "b")]
    answers += [said("even", "ada", "a"), said("even", "bo", "b"), said("words", "ada", "tie")]
    answers += [said("words", "bo", "both_bad"), said("sole", "cy", "a"), said("skipped", "cy", "skip")]
    found = disagreements(answers, [], [judged("sole", 0.2), judged("agreed1", 0.8), judged("even", 0.9)])
    assert [(each.comparison_id, each.kind) for each in found] == [
        ("even", "people"),
        ("clear", "people"),
        ("equal", "people"),
        ("sole", "judge"),
    ]
    assert [answer.labeler for answer in found[0].answers] == ["human:ada", "human:bo"]
    assert found[0].judges == {"j": 0.9} and found[3].judges == {"j": 0.2} and found[1].judges == {}


def test_what_is_decided_comes_back_only_where_most_people_say_something_else():
    answers = [said(pair, who, "a") for pair in ("for", "against", "aside") for who in ("ada", "bo")]
    answers += [said("split", "ada", "a"), said("split", "bo", "b"), said("one", "ada", "a")]
    settled = [decided("for", "a"), decided("split", "a"), decided("one", "b"), decided("aside", "skip")]
    (found,) = disagreements(answers, [*settled, decided("against", "b")], [judged("against", 0.9)])
    assert (found.comparison_id, found.kind) == ("against", "gold")
    assert found.adjudication == decided("against", "b")


def test_a_decision_stands_against_what_people_had_said_before_it():
    answers = [said("p", who, choice) for who, choice in (("ada", "a"), ("bo", "b"))]
    later = decided("p", "tie").model_copy(update={"created_at": "2027-01-01T00:00:00Z"})
    assert disagreements(answers, [later], []) == []


def test_a_judge_that_abstains_contradicts_nobody():
    assert disagreements([said("p", "ada", "a")], [], [judged("p", 0.1, abstained=True)]) == []


def test_a_reviewer_sees_what_each_judge_of_a_panel_said_and_only_the_panel_contradicts():
    said_each = (Opinion(judge="fine", probability=0.9, weight=1), Opinion(judge="out", probability=0.1, weight=0))
    silent = Opinion(judge="silent", probability=0.5, weight=1, reason="label_mass")
    panel = judged("p", 0.2, judge="panel-1").model_copy(update={"opinions": (*said_each, silent)})
    (found,) = disagreements([said("p", "ada", "a")], [], [panel])
    assert found.kind == "judge" and found.judges == {"panel-1": 0.2, "panel-1/fine": 0.9, "panel-1/out": 0.1}
    assert disagreements([said("p", "ada", "a")], [], [panel.model_copy(update={"probability": 0.8})]) == []
