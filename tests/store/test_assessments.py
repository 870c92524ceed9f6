"""Ratings, rankings and marked faults in the store: what waits, who holds it, what stands, what outlives a run."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from rlhf_core.records.assessments import Assessment, Form
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.records.studies import StudyPair, StudyPlan, StudyReply
from rlhf_core.store.store import Store
from tests.store.examples import comparison
from tests.store.test_managing_runs import ended


def reply(name: str, asked: str = "How?", text: str = "", run_id: str = "run", split: str = "train") -> Sample:
    prompt = Prompt.of(asked).model_copy(update={"split": split})
    return Sample(id=name, prompt=prompt, response=text or f"answer {name}", policy_version="base", run_id=run_id)


def rating(name: str, item: str, labeler: str = "human:ada", **said: object) -> Assessment:
    given = {"id": name, "form": "rating", "item_id": item, "sample_ids": (item,), "objective": "helpful"}
    return Assessment.model_validate({**given, "labeler": labeler, "rating": 5, "run_id": "run", **said})


def ahead(store: Store, form: str = "rating", labeler: str = "human:ada", count: int = 100, **more: Any) -> list[str]:
    items = store.assessment_queue.upcoming(labeler, "helpful", cast(Form, form), count=count, **more)
    return [item.id for item in items]


def test_replies_of_pairs_are_rated_each_once_and_by_each_person(store: Store):
    store.comparisons.add([comparison("c"), comparison("d", "other")])
    store.samples.add([reply("of no pair")])
    assert ahead(store) == ["c-a", "c-b", "d-a", "d-b"]
    assert ahead(store, run_id="other") == ["d-a", "d-b"]
    store.assessments.submit(rating("1", "c-b"))
    assert ahead(store) == ["c-a", "d-a", "d-b"] and ahead(store, labeler="human:bo") == ["c-a", "c-b", "d-a", "d-b"]
    assert ahead(store, "spans") == ["c-a", "c-b", "d-a", "d-b"]
    assert store.assessment_queue.waiting("human:ada", "helpful", "rating") == 3
    assert store.assessment_queue.waiting("human:ada", "harmless", "rating") == 4


def test_what_is_empty_or_held_out_is_not_asked_about(store: Store):
    pairs = [(reply("kept", "Held?", split="heldout"), reply("kept2", "Held?", split="heldout"))]
    pairs += [(reply("said", "Train?"), reply("said2", "Train?").model_copy(update={"response": ""}))]
    store.comparisons.add([Comparison.of(a, b, "run") for a, b in pairs])
    store.samples.add([reply(f"held{n}", "Held?", f"text {n}", split="heldout") for n in range(4)])
    assert ahead(store) == ["said"] and ahead(store, "ranking") == []


def test_prompts_with_three_replies_that_differ_are_ranked_in_an_order_drawn_for_each_person(store: Store):
    few, many, twice = Prompt.of("few?").id, Prompt.of("many?").id, Prompt.of("twice?").id
    store.samples.add([reply(f"f{n}", "few?") for n in range(2)])
    store.samples.add([reply(f"m{n}", "many?") for n in range(7)])
    store.samples.add([reply(f"t{n}", "twice?", f"text {n % 3}") for n in range(6)])
    assert sorted(ahead(store, "ranking")) == sorted([many, twice]) and few not in ahead(store, "ranking")
    shown = {}
    for name in ("ada", "bo", "cy", "di"):
        items = store.assessment_queue.upcoming(f"human:{name}", "helpful", "ranking", count=2)
        for item in items:
            shown.setdefault(item.id, []).append([sample.id for sample in item.samples])
    assert {tuple(sorted(order)) for order in shown[many]} == {("m0", "m1", "m2", "m3", "m4")}
    assert {tuple(sorted(order)) for order in shown[twice]} == {("t0", "t1", "t2")}, "each text once"
    assert len({tuple(order) for order in shown[many]}) > 1
    again = store.assessment_queue.upcoming("human:ada", "helpful", "ranking", count=2)
    assert {item.id: [sample.id for sample in item.samples] for item in again} == {i: o[0] for i, o in shown.items()}


def test_replies_that_a_study_measures_policies_by_are_not_assessed(store: Store):
    replies = [reply(f"m{n}", "many?") for n in range(4)]
    studied, other = Comparison.of(replies[0], replies[1], "run"), Comparison.of(replies[2], replies[3], "run")
    store.comparisons.add([studied, other])
    assert len(ahead(store, "ranking")) == 1 and ahead(store) == ["m0", "m1", "m2", "m3"]
    plan = StudyPlan(policies=("base", "p"), objectives=("helpful",))
    where = {"study_id": "s", "comparison_id": studied.id, "place": 0, "prompt_id": replies[0].prompt.id}
    pair = StudyPair.model_validate(where | {"a_policy": "base", "b_policy": "p", "a_words": 2, "b_words": 2})
    store.studies.add("s", plan)
    store.studies.open("s", [pair], plan)
    assert ahead(store) == ahead(store, "spans") == ["m2", "m3"] and ahead(store, "ranking") == []


def test_replies_that_a_study_has_rated_are_asked_in_its_order_as_often_as_it_declared(store: Store):
    """Held-out prompts included; at no desk but the study's own, and to nobody for another objective."""
    run = store.runs.create("study", "{}", "k", "").id
    held = [reply(f"m{n}", f"Held {n}?", run_id=run, split="heldout") for n in range(4)]
    store.samples.add(held)
    plan = StudyPlan(policies=("base", "p"), objectives=("helpful",), ratings_per_reply=2)
    rows = [
        StudyReply(study_id=run, policy="base", prompt_id=one.prompt.id, sample_id=one.id, place=place)
        for one, place in zip(held, (2, 0, 3, 1), strict=True)
    ]
    store.studies.add(run, plan)
    store.studies.open(run, [], plan, rows)
    assert ahead(store, run_id=run) == ["m1", "m3", "m0", "m2"] and ahead(store) == []
    assert ahead(store, run_id=run, count=2, lease_seconds=60) == ["m1", "m3"]
    assert ahead(store, labeler="human:bo", run_id=run, lease_seconds=60) == ["m0", "m2"]
    store.assessments.submit(rating("1", "m1", run_id=run))
    store.assessments.submit(rating("2", "m1", "human:bo", run_id=run, skipped=True, rating=None))
    assert ahead(store, run_id=run) == ["m3", "m0", "m2"]
    assert ahead(store, labeler="human:cy", run_id=run)[0] == "m1"
    store.assessments.submit(rating("3", "m1", "human:cy", run_id=run))
    assert ahead(store, labeler="human:di", run_id=run) == ["m3", "m0", "m2"], "two have rated it"
    assert store.assessment_queue.waiting("human:di", "harmless", "rating", run) == 0
    [question] = store.studies.questions(run, "ratings")
    store.studies.close(question.model_copy(update={"closed_because": "by hand"}))
    assert ahead(store, labeler="human:di", run_id=run) == []


def test_a_run_s_rankings_are_of_its_own_replies(store: Store):
    store.samples.add([reply(f"m{n}", "many?", run_id="run" if n < 4 else "other") for n in range(6)])
    [item] = store.assessment_queue.upcoming("human:ada", "helpful", "ranking", "run", 5)
    assert {sample.id for sample in item.samples} == {"m0", "m1", "m2", "m3"}
    assert ahead(store, "ranking", run_id="other") == []


@pytest.mark.parametrize("form", ["rating", "ranking", "spans"])
def test_two_people_never_hold_the_same_item_however_many_ask_at_once(store: Store, form):
    store.comparisons.add(
        Comparison.of(reply(f"a{n}", f"prompt {n}"), reply(f"b{n}", f"prompt {n}"), "run") for n in range(12)
    )
    store.samples.add(reply(f"c{n}", f"prompt {n}") for n in range(12))
    names = [f"human:p{number}" for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        held = list(pool.map(lambda name: ahead(store, form, name, 3, lease_seconds=60), names))
    everything = [item for each in held for item in each]
    assert len(everything) == len(set(everything)) == 12
    assert [ahead(store, form, name, 3, lease_seconds=60) for name in names] == held


def test_a_lease_ends_with_its_time_or_its_assessment_and_is_of_one_form_and_objective(store: Store):
    store.comparisons.add([comparison("c"), comparison("d")])
    assert len(ahead(store, lease_seconds=1e-6)) == 4
    assert len(ahead(store, labeler="human:bo", lease_seconds=60)) == 4
    assert ahead(store, lease_seconds=60) == [] and len(ahead(store)) == 4
    assert len(ahead(store, "spans", lease_seconds=60)) == 4
    store.assessments.submit(rating("1", "c-a", "human:bo"))
    assert ahead(store, lease_seconds=60) == ["c-a"]


def test_what_is_taken_back_gives_way_to_what_it_had_replaced(store: Store):
    store.comparisons.add([comparison("c")])
    first = store.assessments.submit(rating("1", "c-a", rating=2))
    second = store.assessments.submit(rating("2", "c-a", rating=6))
    other = store.assessments.submit(rating("3", "c-b", skipped=True, rating=None))
    assert store.assessments.find("helpful") == [second, other]
    assert store.assessments.undo("human:ada", item_id="c-a") == second
    assert store.assessments.find() == [first, other]
    assert store.assessments.undo("human:bo") is None
    hour = timedelta(hours=1)
    assert store.assessments.given("human:ada", datetime.now(UTC) - hour) == {"rating": 2}
    assert store.assessments.given("human:ada", datetime.now(UTC) + hour) == {}


def test_assessed_replies_outlive_their_run(store: Store):
    run = ended(store)
    store.comparisons.add([comparison("c", run.id)])
    store.assessments.submit(rating("1", "c-b", run_id=run.id))
    gone = store.deletion.delete(run.id)
    assert (gone.kept_labels, gone.rows["samples"], gone.rows["comparisons"]) == (1, 1, 1)
    assert store.samples.by_id(["c-a", "c-b"]).keys() == {"c-b"}
    assert [one.item_id for one in store.assessments.find()] == ["c-b"] and store.integrity_check() == []
