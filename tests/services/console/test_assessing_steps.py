"""What the desks of ratings, rankings and faults ask of the server, and the pages beside them, without a browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.client.assessment import Fault
from services.console.faults import Stretch, stretches
from services.console.replies import Word, words_of
from services.security.tokens import new_token
from tests.services.console.conftest import Site, console, fill
from tests.services.console.test_labelling_steps import ahead, send


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    """Six prompts with four replies each, of which two are a pair."""
    fill(tmp_path, 6, replies=4)
    with console(tmp_path) as started:
        started.http.post("/label/name", data={"name": "ana"}, headers={"origin": started.url})
        yield started


def step(form: str, shown: dict, name: str, **said: object) -> dict:
    return {"kind": form, "id": name, "item": shown["id"], "objective": "helpful"} | said


def stored(site: Site) -> list[tuple[str, Any]]:
    said = {"rating": lambda one: one.rating, "ranking": lambda one: one.ranks, "spans": lambda one: one.spans}
    return [
        (one.item_id, "skip" if one.skipped else "all bad" if one.all_bad else said[one.form](one))
        for one in site.grpc.assessments.list_assessments()
    ]


def test_a_reply_is_shown_without_a_word_on_who_wrote_it(site):
    found = ahead(site, form="ratings")
    assert (len(found["items"]), found["remaining"], found["given"]) == (5, 12, 0)
    assert all(set(shown) == {"id", "turns", "text"} for shown in found["items"])
    [several, *_] = ahead(site, form="rankings")["items"]
    assert set(several) == {"id", "turns", "replies"} and len(several["replies"]) == 4
    assert all(set(shown) == {"id", "turns", "words"} for shown in ahead(site, form="spans")["items"])


def test_a_desk_shows_what_a_principle_asks_of_one_reply_or_of_two(site):
    of_one, of_two = "Check the reply for fumes.", "Which reply has less risk of fumes?"
    pages = {form: site.http.get(f"/label/harmless/{form}").text for form in ("pairs", "ratings", "rankings", "spans")}
    assert {form: (of_one in page, of_two in page) for form, page in pages.items()} == {
        "pairs": (False, True),
        "ratings": (True, False),
        "rankings": (False, True),
        "spans": (True, False),
    }


def test_each_form_is_stored_once_and_in_order_and_counts_for_the_day(site):
    rated, skipped, *_ = ahead(site, form="ratings")["items"]
    ranked, bad, *_ = ahead(site, form="rankings")["items"]
    marked, *_ = ahead(site, form="spans")["items"]
    samples = {item["id"]: [sample for sample, _ in item["replies"]] for item in (ranked, bad)}
    steps = [
        step("ratings", rated, "1", rating=6, note="dry"),
        step("ratings", skipped, "2", rating=None),
        step("rankings", ranked, "3", samples=samples[ranked["id"]], ranks=[2, 1, 2, 3]),
        step("rankings", bad, "4", samples=samples[bad["id"]], ranks=[], all_bad=True),
        step("spans", marked, "5", spans=[{"start": 0, "end": 3, "principle": "task-done"}]),
        {"kind": "undo", "form": "ratings", "id": "6", "item": skipped["id"], "objective": "helpful"},
    ]
    for _ in range(2):
        assert send(site, *steps) == {"done": ["1", "2", "3", "4", "5", "6"], "refused": {}}
    *given, (item, [span]) = stored(site)
    assert given == [(rated["id"], 6), (ranked["id"], (2, 1, 2, 3)), (bad["id"], "all bad")]
    assert (item, span.text, span.principle_id) == (marked["id"], "Use", "task-done")
    assert next(site.grpc.assessments.list_assessments()).reason == "dry"
    assert (ahead(site, form="ratings")["remaining"], ahead(site, form="ratings")["given"]) == (11, 4)
    assert "1 ratings, 2 rankings" in site.http.get("/label").text


def test_an_answer_that_the_service_refuses_is_named_and_holds_up_no_other(site):
    first, second, *_ = ahead(site, form="ratings")["items"]
    steps = [step("ratings", first, "1", rating=8), step("ratings", second, "2", rating=7)]
    found = send(site, *steps)
    assert found["done"] == ["2"] and "rating: 8; allowed: 1 to 7" in found["refused"]["1"]


def test_two_people_never_hold_the_same_item_in_any_form(site):
    for form, all_of_them in (("ratings", 12), ("rankings", 6), ("spans", 12)):
        seen = []
        for name in ("ana", "bo"):
            site.http.post("/label/name", data={"name": name}, headers={"origin": site.url})
            seen += [shown["id"] for shown in ahead(site, 7, form=form)["items"]]
        assert len(seen) == len(set(seen)) == min(14, all_of_them)


def test_a_desk_has_the_principles_words_beside_it_and_says_which_desks_there_are(site):
    for form in ("ratings", "rankings", "spans"):
        page = site.http.get(f"/label/harmless/{form}").text
        assert f'data-form="{form}"' in page and "fumes" in page
    answer = site.http.get("/label/harmless/rating")
    assert answer.status_code == 404 and "known: pairs, ratings, rankings, spans" in answer.text


def test_guidelines_are_the_constitution_s_words_for_each_objective(site):
    page = site.http.get("/guidelines").text
    assert page.count('<section id="') == 2
    assert "What is a fault:" in page and "1 is as bad as a reply can be" in page


def test_what_was_marked_is_shown_in_its_place(site):
    marks = [Fault(4, 10, "no-fumes"), Fault(6, 16, "no-fumes")]
    given = {"objective": "harmless", "labeler": "bo", "reason": "<b>why</b>"}
    site.grpc.assessments.submit("spans", ["w0a"], faults=marks, **given)
    site.grpc.assessments.submit("spans", ["w1a"], faults=[], objective="harmless", labeler="bo")
    page = site.http.get("/faults").text
    assert "Use <mark>a </mark><mark>soft</mark><sup>1</sup><mark> cloth</mark><sup>2</sup>." in page
    assert "No fault found." in page and "&lt;b&gt;why&lt;/b&gt;" in page and " bo " in page
    assert "<mark>" not in site.http.get("/faults?objective=helpful").text


def test_words_are_the_whole_text_with_the_places_that_they_have_in_it():
    text = "  Mix 🫖 tea.\n\nNow" + "長" * 40
    words = words_of(text)
    assert "".join(word.text for word in words) == text
    assert [text[word.start : word.end] for word in words][:4] == ["Mix", "🫖", "tea.", "Now" + "長" * 13]
    assert words_of("a\u202eb") == (Word("a\\u202eb", 0, 3),) and words_of("") == words_of(" \n") == ()


def test_overlapping_faults_cut_a_text_where_each_begins_and_ends():
    assert stretches("abcdef", [(1, 4), (3, 5)]) == [
        Stretch("a", (), ()), Stretch("bc", (1,), ()), Stretch("d", (1, 2), (1,)), Stretch("e", (2,), (2,)),
        Stretch("f", (), ()),
    ]  # fmt: skip
    assert stretches("ab", []) == [Stretch("ab", (), ())] and stretches("", []) == []


def test_whoever_may_only_read_reads_guidelines_and_marks_and_assesses_nothing(tmp_path):
    fill(tmp_path, 2)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "bo", ("read",))
    with console(tmp_path, tokens=file) as site:
        site.http.cookies.set("charter_token", token)
        look = {"form": "ratings", "objective": "helpful", "count": 1, "since": "2026-01-01T00:00:00Z"}
        answer = site.post("/label/next", look)
        assert answer.status_code == 403 and "NextAssessment needs label" in answer.json()["error"]["message"]
        assert site.http.get("/guidelines").status_code == site.http.get("/faults").status_code == 200
        assert "Rate replies" not in site.http.get("/label").text
