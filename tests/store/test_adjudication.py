"""What people answered twice, what reviewers decided, and whom they let in: in both databases."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from rlhf_core.errors import NotFound
from rlhf_core.records.annotation import Adjudication, AnnotatorChange
from rlhf_core.records.feedback import Choice
from rlhf_core.store.store import Store
from tests.store.examples import comparison, preference

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def say(store: Store, name: str, pair: str = "c", who: str = "ada", choice: Choice = "a", objective: str = "harmless"):
    label = preference(name, pair, f"human:{who}", objective).model_copy(update={"choice": choice})
    return store.preferences.submit(label, name)


def decide(store: Store, pair: str, choice: Choice = "a", objective: str = "harmless") -> Adjudication:
    decided = Adjudication(comparison_id=pair, objective=objective, choice=choice, reason="plain", adjudicated_by="rei")
    return store.adjudications.add(decided)


def test_the_second_answer_of_somebody_who_is_asked_again_leaves_the_label_as_it_was(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    first = say(store, "1")
    store.annotators.ask_again("human:ada", "harmless", ["c", "d"])
    store.annotators.ask_again("human:ada", "harmless", ["c"])
    again = say(store, "2", choice="b")
    assert again.repeated and not first.repeated
    assert store.preferences.find() == [first]
    assert [(a.choice, a.repeated) for a in store.annotators.answers()] == [("a", False), ("b", True)]
    assert store.preferences.given("human:ada", LONG_AGO) == 2
    # A third is a change of mind, and so is a first one on what was never labelled.
    assert not say(store, "3", choice="tie").repeated and not say(store, "4", "d").repeated
    assert [label.choice for label in store.preferences.find()] == ["tie", "a"]
    # Sent once more it is the same answer, and nobody else was asked.
    assert say(store, "2", choice="b") == again
    assert not say(store, "5", who="bo").repeated


def test_undo_takes_back_a_second_answer_and_asks_for_it_again(store: Store):
    store.comparisons.add([comparison("c")])
    first = say(store, "1")
    store.annotators.ask_again("human:ada", "harmless", ["c"])
    again = say(store, "2", choice="b")
    assert store.preferences.undo("human:ada", comparison_id="c") == again
    assert store.preferences.find() == [first]
    assert [a.revision for a in store.annotators.answers()] == [1]
    assert say(store, "3", choice="tie").repeated
    assert [store.preferences.undo("human:ada") for _ in range(3)][1:] == [first, None]


def test_answers_are_read_whole_by_objective_person_run_and_page(store: Store):
    store.comparisons.add([comparison("c"), comparison("d", "other")])
    say(store, "1", choice="skip")
    say(store, "2", "d", who="bo")
    say(store, "3", objective="helpful")
    store.preferences.add([preference("ai", labeler="ai:judge")])
    found = store.annotators.answers()
    assert [(a.comparison_id, a.labeler, a.objective, a.choice) for a in found] == [
        ("c", "human:ada", "harmless", "skip"),
        ("d", "human:bo", "harmless", "a"),
        ("c", "human:ada", "helpful", "a"),
    ]
    assert found[0].prompt_id == comparison("c").prompt.id and found[0].given_at <= found[1].given_at
    assert store.annotators.answers("helpful") == found[2:]
    assert store.annotators.answers(labeler="human:bo") == found[1:2]
    assert store.annotators.answers(run_id="other") == found[1:2]
    assert store.annotators.answers(after=found[0].revision, size=1) == found[1:2]


def test_what_is_adjudicated_is_asked_no_more_until_that_is_withdrawn(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    first = decide(store, "c")
    assert (first.number, first.choice, first.adjudicated_by) == (1, "a", "rei")
    assert store.comparisons.next("human:ada", "harmless") == comparison("d")
    assert store.comparisons.waiting("human:ada", "harmless") == 1
    assert store.comparisons.next("human:ada", "helpful") == comparison("c")
    changed = decide(store, "c", "b")
    other = decide(store, "c", "tie", "helpful")
    assert store.adjudications.find() == [changed, other]
    assert store.adjudications.find("harmless") == [changed]
    store.comparisons.add([comparison("c", "again"), comparison("e", "other")])
    of_runs = [store.adjudications.find(run_id=run) for run in ("run", "again", "other")]
    assert of_runs == [[changed, other], [changed, other], []]
    assert store.adjudications.withdraw("c", "harmless", "rei") == changed
    assert store.adjudications.find("harmless") == []
    assert store.comparisons.waiting("human:ada", "harmless") == 3
    with pytest.raises(NotFound):
        store.adjudications.withdraw("c", "harmless", "rei")
    with pytest.raises(NotFound):
        decide(store, "gone")


def test_the_latest_word_on_a_person_holds(store: Store):
    for standing in ("paused", "admitted"):
        said = AnnotatorChange(labeler="human:ada", standing=standing, reason="seen", changed_by="rei")
        store.annotators.change(said)
    paused = store.annotators.change(AnnotatorChange(labeler="human:bo", standing="paused"))
    assert (paused.number, paused.labeler) == (3, "human:bo") and paused.created_at
    assert store.annotators.standings() == {"human:ada": "admitted", "human:bo": "paused"}


def test_a_run_s_deletion_keeps_the_pairs_that_were_adjudicated(store: Store):
    run = store.runs.create("pipeline", "{}", "k", "q")
    claimed = store.runs.claim("elsewhere:1:1", 3600)
    assert claimed is not None
    store.comparisons.add([comparison("c", run.id), comparison("d", run.id)])
    decide(store, "c")
    store.runs.release(run.id, claimed.fence, "SUCCEEDED")
    store.deletion.delete(run.id)
    assert store.comparisons.by_id(["c", "d"]).keys() == {"c"}
    assert len(store.adjudications.find()) == 1


def test_the_judges_labels_are_read_of_what_people_answered(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    say(store, "1")
    say(store, "2", objective="helpful")
    first, again = preference("3", labeler="ai:j"), preference("4", labeler="ai:j", run_id="later")
    store.preferences.add(
        [first, again, preference("5", "d", "ai:j"), preference("6", labeler="ai:j", objective="kind")]
    )
    assert store.annotators.judged("harmless") == [first, again]
    assert store.annotators.judged("helpful") == store.annotators.judged("kind") == []
