"""The pages of quality and of decisions, and the keys of the latter in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest

from rlhf_core.annotation.records import Window
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.records.annotation import Adjudication, Agreement, AnnotatorChange
from rlhf_core.seeding import is_swapped
from rlhf_core.store.store import Store
from services.console.quality import HEIGHT, WIDTH, trend_of, words_of
from services.security.scopes import Scope
from services.security.tokens import new_token
from tests.services.console.conftest import Site, console, fill, pair
from tests.store.examples import preference

ATTACK = "<script>alert(1)</script>"
PAIRS = [pair(number) for number in range(40)]


def answer(site: Site, number: int, who: str, choice: str, note: str = "") -> None:
    given = {"objective": "helpful", "labeler": who, "choice": choice, "reason": note}
    site.grpc.preference.submit_preference(PAIRS[number].id, **given, swapped=number % 2 == 0)


def disagree(site: Site, pairs: int = 3) -> None:
    """Ada and bo contradict each other on some pairs and agree on ten more."""
    for number in range(pairs + 10):
        answer(site, number, "ada", "a", ATTACK)
        answer(site, number, "bo", "b" if number < pairs else "a")


def decided(data: Path) -> list[Adjudication]:
    store = Store.open(data)
    try:
        return store.adjudications.find("helpful")
    finally:
        store.close()


def test_the_page_says_how_far_people_agree_and_how_each_of_them_does(tmp_path):
    fill(tmp_path)
    with console(tmp_path) as site:
        empty = site.http.get("/quality").text
        assert "Nobody has labelled for helpful yet" in empty and "undefined" not in empty
        assert empty.count("no item has the answers of two people") == 4, "both alphas of both objectives say why"
        disagree(site)
        page = site.http.get("/quality").text
        assert "13 pairs say too little" in page and "3 pairs to decide" in page and "13 of 13" in page
        assert ">ada</th>" in page and ">bo</th>" in page
        assert ">Chose the left reply</th>" in page and "from 13 answers</span>" in page
        assert 'href="/quality/helpful"' in page and ATTACK not in page


def test_somebody_is_shut_out_and_let_in_from_the_page(tmp_path):
    fill(tmp_path)
    with console(tmp_path) as site:
        disagree(site)
        shut = site.post("/quality", data={"labeler": "human:bo", "standing": "paused", "reason": "guesses"})
        assert (shut.status_code, shut.headers["location"]) == (303, "/quality")
        page = site.http.get("/quality").text
        assert "shut out" in page and "0 pairs to decide" in page
        site.http.cookies.set("charter_name", "bo")
        assert "You get no pairs for now" in site.http.get("/label").text
        looked = site.post(
            "/label/next", {"form": "pairs", "objective": "helpful", "count": 2} | {"since": "2026-01-01T00:00:00Z"}
        )
        assert looked.status_code == 403 and "gets nothing more to label" in looked.text
        assert site.post("/quality", data={"labeler": "human:bo", "standing": "gone"}).status_code == 400
        site.post("/quality", data={"labeler": "human:bo", "standing": "by_rule"})
        assert "3 pairs to decide" in site.http.get("/quality").text


def test_nobody_is_offered_to_shut_themselves_out(tmp_path):
    fill(tmp_path)
    with console(tmp_path) as site:
        disagree(site)
        assert site.http.get("/quality").text.count("Shut out, with all labels") == 2
        site.http.cookies.set("charter_name", "bo")
        page = site.http.get("/quality").text
        assert page.count("Shut out, with all labels") == 1 and "(you)" in page


def test_a_decision_is_stored_as_what_stood_on_the_page_and_can_be_taken_back(tmp_path, monkeypatch):
    monkeypatch.setenv("USER", "rei")
    fill(tmp_path)
    with console(tmp_path) as site:
        disagree(site)
        site.http.cookies.set("charter_name", "rei")
        page = site.http.get("/quality/helpful").text
        assert "3 to decide" in page and "People contradict each other" in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page and ATTACK not in page
        shown = next(each for each in PAIRS[:3] if f'value="{each.id}"' in page)
        swapped = is_swapped("rei", shown.id)
        form = {"comparison": shown.id, "choice": "left", "swapped": "1" if swapped else "", "reason": " plain "}
        stored = site.post("/quality/helpful", data=form | {"request_id": "q"})
        assert (stored.status_code, stored.headers["location"]) == (303, f"/quality/helpful?last={shown.id}")
        site.post("/quality/helpful", data=form | {"request_id": "q"})
        (one,) = decided(tmp_path)
        assert (one.comparison_id, one.choice, one.reason) == (shown.id, "b" if swapped else "a", "plain")
        assert one.adjudicated_by == "rei"
        after = site.http.get(stored.headers["location"]).text
        assert "2 to decide" in after and "Decided." in after and "Take it back" in after
        site.post("/quality/helpful", data={"comparison": shown.id, "choice": "withdraw"})
        assert decided(tmp_path) == []
        wrong = site.post("/quality/helpful", data={"comparison": shown.id, "choice": "maybe"})
        assert wrong.status_code == 400 and "maybe" in wrong.text


def test_later_leads_to_the_next_pair_and_ends(tmp_path):
    fill(tmp_path)
    with console(tmp_path) as site:
        disagree(site, 2)
        first, second = (site.http.get("/quality/helpful", params={"later": later}).text for later in (0, 1))
        assert "2 to decide" in first and "?later=1" in first
        assert "1 to decide" in second and "?later=2" not in second
        ids = [next(each.id for each in PAIRS[:2] if each.id in page) for page in (first, second)]
        assert ids[0] != ids[1]
        assert "Those that you put off" in site.http.get("/quality/helpful", params={"later": 2}).text
        assert site.http.get("/quality/helpful", params={"later": "x"}).status_code == 400
        assert "nothing to decide for harmless" in site.http.get("/quality/harmless").text
        assert site.http.get("/quality/kindness").status_code == 400


def test_who_only_annotates_sees_their_own_calibration_and_no_other_pages(tmp_path):
    fill(tmp_path)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ada", ["annotate"])
    with console(tmp_path, tokens=file) as site:
        site.http.cookies.set("charter_token", token)
        assert site.http.get("/").headers["location"] == "/label"
        page = site.http.get("/quality").text
        assert "Your calibration" in page and "There is no such round now; you are let in without it." in page
        assert 'href="/label"' in page and 'href="/runs"' not in page
        assert site.http.get("/runs").status_code == site.http.get("/quality/helpful").status_code == 403
        tasks = site.http.get("/label").text
        assert "40 pairs wait for you" in tasks and "/faults" not in tasks, "nothing leads to what is refused"
        looked = site.post(
            "/label/next", {"form": "pairs", "objective": "helpful", "count": 2} | {"since": "2026-01-01T00:00:00Z"}
        )
        assert len(looked.json()["items"]) == 2


def test_the_page_of_calibration_says_how_far_somebody_is_and_offers_no_pairs_that_they_do_not_get(tmp_path):
    fill(tmp_path)
    store = Store.open(tmp_path)
    for one in PAIRS[:2]:
        decision = Adjudication(comparison_id=one.id, objective="helpful", choice="a", adjudicated_by="rei")
        store.adjudications.add(decision)
    file = tmp_path / "tokens.yaml"
    roles: list[tuple[str, Scope]] = [("ada", "annotate"), ("rei", "review"), ("viv", "read")]
    tokens = {name: new_token(file, name, [scope]) for name, scope in roles}
    with console(tmp_path, tokens=file, labelling=LabellingConfig(calibration_items=2)) as site:

        def page(name: str = "ada") -> str:
            site.http.cookies.set("charter_token", tokens[name])
            return site.http.get("/quality").text

        assert "0 of at least 2 pairs answered" in page() and 'class="button main" href="/label/helpful"' in page()
        for one, choice in zip(PAIRS[:2], ("b", "a"), strict=True):
            given = preference(one.id, one.id, "human:ada", "helpful").model_copy(update={"choice": choice})
            store.preferences.submit(given, one.id)
        assert "2 pairs answered; too few of the last 2 are as they were decided" in page()
        store.annotators.change(AnnotatorChange(labeler="human:ada", standing="admitted"))
        assert "You are let in." in page() and "too few" not in page()
        store.annotators.change(AnnotatorChange(labeler="human:ada", standing="paused"))
        assert "ask a reviewer" in page() and "/label/helpful" not in page()
        assert "does not allow you to label" in page("viv") and "/label/helpful" not in page("viv")
    store.close()


def test_alpha_in_words_and_in_points():
    assert [words_of(Agreement(value=value, items=20)) for value in (0.9, 0.7, 0.2)] == [
        "people agree well",
        "people agree well enough for tentative conclusions",
        "people agree too little",
    ]
    assert words_of(Agreement(undefined="why")) == "why"
    assert words_of(Agreement(value=1.0, items=19)) == "19 pairs say too little: wait for 20"
    windows = [
        Window(begin="2026-03-01T09", end="2026-03-02T09", agreement=Agreement(value=1.0, low=1.0, high=1.0)),
        Window(begin="2026-03-02T09", end="2026-03-03T09", agreement=Agreement(undefined="all the same")),
        Window(begin="2026-03-03T09", end="2026-03-04T09", agreement=Agreement(value=-0.5, low=None, high=None)),
    ]
    found = trend_of(windows)
    assert found is not None
    assert found.line == f"0.0,0.0 {WIDTH:.1f},{HEIGHT:.1f}"
    assert found.words == "2026-03-01 to 2026-03-04: 1.00, -0.50"
    assert trend_of(windows[:2]) is None


@pytest.mark.slow
def test_five_pairs_are_decided_by_keys_alone(tmp_path, chromium):
    fill(tmp_path)
    with console(tmp_path) as site:
        disagree(site, 6)
        page = chromium(viewport={"width": 1200, "height": 900}).new_page()
        page.goto(f"{site.url}/quality/helpful")
        keys = ["a", "ArrowRight", "t", "x", "s"]
        for left, key in zip(range(5, 0, -1), keys, strict=True):
            page.wait_for_load_state()
            if key == "t":
                page.keyboard.press("n")
                page.keyboard.type("both say so: a b t")
                page.keyboard.press("Escape")
            page.keyboard.press(key)
            page.get_by_text(f"{left} to decide").wait_for()
        page.wait_for_load_state()
        page.keyboard.press("u")
        page.get_by_text("2 to decide").wait_for()
        page.wait_for_load_state()
        page.keyboard.press("w")
        assert page.locator("details.guide").get_attribute("open") is not None
        found = decided(tmp_path)
        assert [each.choice for each in found[2:]] == ["tie", "both_bad"]
        assert found[2].reason == "both say so: a b t" and {each.choice for each in found[:2]} <= {"a", "b"}
