"""What the labelling page's script asks of the server, without a browser."""

from __future__ import annotations

import getpass
import re
from contextlib import closing

import pytest

from rlhf_core.seeding import UNIFORM_SLICE, is_swapped, uniform_draw
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from tests.services.console.conftest import Site, console, fill, pair
from tests.services.run_server import CONFIG

LONG_AGO = "2026-01-01T00:00:00Z"


def ahead(site: Site, count: int = 5, **fields: object) -> dict:
    answer = site.post(
        "/label/next", {"form": "pairs", "objective": "helpful", "count": count, "since": LONG_AGO} | fields
    )
    assert answer.status_code == 200, answer.text
    return answer.json()


def label(shown: dict, choice: str = "left", name: str = "one", **fields: object) -> dict:
    step = {"kind": "pairs", "id": name, "item": shown["id"], "objective": "helpful", "choice": choice}
    return step | {"swapped": shown["swapped"]} | fields


def send(site: Site, *steps: dict, labeler: str = "ana") -> dict:
    answer = site.post("/label/steps", {"labeler": labeler, "steps": list(steps)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def ana(site: Site) -> Site:
    """The same, where the labeler has said her name."""
    answer = site.http.post("/label/name", data={"name": "human:ana"}, headers={"origin": site.url})
    assert answer.status_code == 303
    return site


def test_a_pair_tells_both_replies_and_nothing_of_who_wrote_them(ana):
    found = ahead(ana)
    assert (len(found["items"]), found["remaining"], found["given"]) == (5, 40, 0)
    for shown in found["items"]:
        assert set(shown) == {"id", "turns", "left", "right", "swapped"}
        assert shown["swapped"] == is_swapped("human:ana", shown["id"])
        first = "Use a wire brush." if shown["swapped"] else "Use a soft cloth."
        assert "".join(text for text, _ in shown["left"]) == first
        assert [text for text, differs in shown["left"] if differs] in (["soft cloth."], ["wire brush."])
    assert {shown["swapped"] for shown in ahead(ana, 40)["items"]} == {True, False}


@pytest.mark.parametrize(("choice", "plain", "mirrored"), [
    ("left", "a", "b"), ("right", "b", "a"), ("tie", "tie", "tie"), ("both_bad", "both_bad", "both_bad"),
    ("skip", "skip", "skip"),
])  # fmt: skip
def test_the_side_that_was_seen_becomes_the_sample_that_stood_there(ana, choice, plain, mirrored):
    for shown in ahead(ana)["items"]:
        send(ana, label(shown, choice, shown["id"], note="wobbly"))
        *_, stored = ana.grpc.preference.list_preferences()
        assert (stored.comparison_id, stored.labeler) == (shown["id"], "human:ana")
        assert stored.choice == (mirrored if shown["swapped"] else plain)
        assert (stored.swapped, stored.reason) == (shown["swapped"], "wobbly")


def test_steps_that_come_again_count_once_and_in_order(ana):
    first, second, *_ = ahead(ana)["items"]
    back = {"kind": "undo", "form": "pairs", "id": "back", "item": first["id"], "objective": "helpful"}
    steps = [label(first), label(second, "tie", "two"), back, label(first, "skip", "three")]
    for _ in range(3):
        assert send(ana, *steps) == {"done": ["one", "two", "back", "three"], "refused": {}}
    stored = [(p.comparison_id, p.choice) for p in ana.grpc.preference.list_preferences()]
    assert stored == [(second["id"], "tie"), (first["id"], "skip")]
    assert (ahead(ana)["remaining"], ahead(ana)["given"]) == (38, 2)
    assert ahead(ana, since="2100-01-01T00:00:00Z")["given"] == 0


def test_a_step_that_can_never_be_stored_is_named_and_holds_up_no_other(ana):
    shown, *_ = ahead(ana)["items"]
    gone = label(shown | {"id": "comparison-gone"}, name="gone")
    found = send(ana, gone, label(shown), label(shown, "tie"))
    assert found["done"] == ["one"]
    assert "no comparison 'comparison-gone'" in found["refused"]["gone"]
    assert "request 'one' was used for another" in found["refused"]["one"]


def test_labels_of_somebody_else_are_not_taken(ana):
    shown, *_ = ahead(ana)["items"]
    answer = ana.post("/label/steps", {"labeler": "bo", "steps": [label(shown)]})
    assert answer.status_code == 409
    assert answer.json()["error"]["message"] == "these labels are of bo, and ana is signed in now"


@pytest.mark.parametrize(("body", "field"), [
    ({"labeler": "ana"}, "steps"),
    ({"labeler": "ana", "steps": [{"kind": "vote"}]}, "steps.0"),
    ({"labeler": "ana", "steps": [{"kind": "undo", "form": "pairs", "id": "", "item": "c", "objective": "o"}]},
     "steps.0.undo.id"),
    ({"labeler": "ana", "steps": [], "more": 1}, "more"),
])  # fmt: skip
def test_what_is_wrong_with_a_step_is_named(ana, body, field):
    answer = ana.post("/label/steps", body)
    assert answer.status_code == 400 and answer.json()["error"]["param"] == field


def test_what_is_no_json_and_a_day_without_a_zone_are_refused(ana):
    answer = ana.post("/label/steps", content=b"{", headers={"accept": "application/json"})
    assert answer.status_code == 400
    look = {"form": "pairs", "objective": "helpful", "count": 1}
    answer = ana.post("/label/next", look | {"since": "2026-01-01T00:00:00"})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "since"
    answer = ana.post("/label/next", look | {"objective": "kindness", "since": LONG_AGO})
    assert answer.status_code == 400 and "unknown objective 'kindness'" in answer.json()["error"]["message"]


def test_only_the_slice_that_decides_on_the_gate_is_shown_where_that_is_asked(ana):
    shown = {each["id"] for each in ahead(ana, 40, gate=True)["items"]}
    assert shown == {each.id for each in map(pair, range(40)) if uniform_draw(each.id) < UNIFORM_SLICE} != set()
    assert 'data-gate="true"' in ana.http.get("/label/helpful?gate=1").text


def test_two_people_are_never_shown_the_same_pair_at_once(tmp_path):
    fill(tmp_path, 10)
    with console(tmp_path) as site:
        seen = []
        for name in ("ana", "bo"):
            site.http.post("/label/name", data={"name": name}, headers={"origin": site.url})
            seen += [shown["id"] for shown in ahead(site, 6)["items"]]
        assert len(seen) == len(set(seen)) == 10
        assert ahead(site, 6)["remaining"] == 10, "what others hold is left all the same"


def test_a_name_that_is_none_is_refused_in_words(site):
    answer = site.http.post("/label/name", data={"name": "ai:judge"}, headers={"origin": site.url})
    assert answer.status_code == 400 and "is not a person" in answer.text
    site.http.post("/label/name", data={"name": "Søren 漢"}, headers={"origin": site.url})
    assert 'value="Søren 漢"' in site.http.get("/label").text


def test_a_reply_that_is_long_comes_unmarked_and_at_once(tmp_path):
    words = " ".join(f"w{number}" for number in range(5000))
    fill(tmp_path, 0)
    with console(tmp_path) as site:
        for number in range(3):
            site.grpc.preference.submit_preference(
                pair(number, words, f"{words} end"), objective="helpful", labeler="bo", choice="a"
            )
        found = ahead(site, 3)["items"]
        assert [len(shown["left"]) for shown in found] == [1, 1, 1]


def test_where_nothing_waits_it_is_said_with_where_something_does(site):
    with closing(Store.open(site.data)) as store:
        store.workers.sign_in(this_process())
    run = site.grpc.trainer.create_run(CONFIG).id
    assert "Label pairs of this run" not in site.http.get(f"/runs/{run}").text
    page = site.http.get("/label", params={"run": run}).text
    assert 'No pair of this run waits for you. <a href="/label/helpful">40 of other runs</a>' in page
    assert "Label for helpful" not in page and "Rate replies: none waits" in page
    every = site.http.get("/label").text
    assert "40 pairs wait for you" in every and "Label for helpful" in every and "Rate replies</a> (80)" in every


def test_a_run_with_pairs_leads_to_them(site):
    with closing(Store.open(site.data)) as store:
        store.workers.sign_in(this_process())
        run = site.grpc.trainer.create_run(CONFIG).id
        made = pair(99)
        store.comparisons.add([made.model_copy(update={"run_id": run})])
    assert "Label pairs of this run" in site.http.get(f"/runs/{run}").text
    assert "1 pair waits for you" in site.http.get("/label", params={"run": run}).text


def test_a_name_is_asked_for_before_the_first_label(site):
    page = site.http.get("/label").text
    assert "Before you begin: under which name are your labels stored?" in page
    assert page.index('id="name"') < page.index("Read the guidelines")
    user = getpass.getuser()
    assert 'id="name" name="name" value=""' in page, "nobody is called as who runs the server without having said so"
    assert f"Until you say, they are stored as {user}, the account that this server runs under." in page
    site.http.post("/label/name", data={"name": "ana"}, headers={"origin": site.url})
    page = site.http.get("/label").text
    assert "Before you begin: under" not in page and 'value="ana"' in page
    assert "You label as <b>ana</b>" in site.http.get("/label/helpful").text


def test_the_desk_says_what_its_marks_and_sides_mean(site):
    page = site.http.get("/label/helpful").text
    assert "Which reply stands left is drawn at random" in page and "are where the two differ" in page
    assert "<kbd>Esc</kbd> leaves the field" in page
    assert "<b>Equal</b>: you would be as glad to get either" in page
    assert "<b>Both bad</b>: neither should have been said" in page


def test_no_page_for_labellers_speaks_of_gates(site):
    for address in ("/label", "/label/helpful", "/label/helpful?gate=1", "/label/helpful/ratings", "/guidelines"):
        text = re.sub(r"<[^>]*>", " ", site.http.get(address).text)
        assert not re.search(r"\bgates?\b", text), address
    assert "only pairs on which the AI judge is tested" in site.http.get("/label").text
    assert "before it agrees with people often enough" in site.http.get("/label/helpful?gate=1").text
