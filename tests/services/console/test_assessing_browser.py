"""Ratings, rankings and faults by keys in a real browser: stored once and in order, whatever happens to the line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from services.security.tokens import new_token
from tests.services.console.conftest import Site, console, fill
from tests.services.console.desks import labeler, press, press_over_a_line_that_is_cut_twice, saved

SCALE_KEYS = "1726354s51" * 3
"""Thirty keys."""
FASTEST = 0.02


@pytest.fixture
def site(tmp_path) -> Iterator[Site]:
    """Twenty pairs, to whose prompts there are four replies each."""
    fill(tmp_path, 20, replies=4)
    with console(tmp_path) as started:
        yield started


def press_all(page: Any, keys: list[str], pause: float = FASTEST) -> None:
    for key in keys:
        page.keyboard.press(key)
        page.wait_for_timeout(pause * 1000)


def ratings(site: Site, who: str = "ana") -> list[tuple[str, int | None]]:
    given = site.grpc.assessments.list_assessments(form="rating")
    return [(one.item_id, one.rating) for one in given if one.labeler == f"human:{who}"]


def meant(seen: list[tuple[str, str]]) -> list[tuple[str, int | None]]:
    return [(shown, None if key == "s" else int(key)) for shown, key in seen]


def test_ratings_are_stored_as_keyed_and_taken_back_with_their_note(site, chromium):
    page = labeler(site.url, chromium, "ratings")
    assert page.inner_text("#progress") == "40 left · 0 today · all saved"
    seen = press(page, "71s", FASTEST)
    page.keyboard.press("n")
    page.keyboard.type("5 of 7")
    page.keyboard.press("Escape")
    seen += press(page, "5", FASTEST)
    saved(page)
    assert ratings(site) == meant(seen)
    page.keyboard.press("u")
    assert page.get_attribute("#item", "data-id") == seen[-1][0]
    assert (page.inner_text("#state"), page.input_value("#note")) == ("Taken back: rated 5.", "5 of 7")
    assert page.get_attribute("button.before", "data-rating") == "5"
    again = press(page, "8", FASTEST) and press(page, "6", FASTEST)
    saved(page)
    assert ratings(site) == meant([*seen[:-1], *again])
    assert list(site.grpc.assessments.list_assessments())[-1].reason == "5 of 7"


def test_rankings_take_ties_a_step_back_and_a_last_one_that_is_left_over(site, chromium):
    page = labeler(site.url, chromium, "rankings")
    first = page.get_attribute("#item", "data-id")
    press_all(page, ["3", "=", "1", "4", "Backspace", "2"])
    assert page.inner_text("#order") == "Your order: 3 = 1 > 2"
    press_all(page, ["Enter", "x", "s"])
    saved(page)
    given = list(site.grpc.assessments.list_assessments())
    assert [(one.ranks, one.all_bad, one.skipped) for one in given] == [
        ((1, 2, 1, 3), False, False), ((), True, False), ((), False, True),
    ]  # fmt: skip
    assert given[0].item_id == first
    press_all(page, ["u", "u", "u"])
    assert page.get_attribute("#item", "data-id") == first
    assert page.inner_text("#order") == "Your order: 1 = 3 > 2 > 4"
    page.click("text=Place the last one anew")
    page.click("text=Place reply 4 next")
    page.click("#store")
    saved(page)
    assert [one.ranks for one in site.grpc.assessments.list_assessments()] == [(1, 2, 1, 3)]


@pytest.mark.slow
def test_enter_before_an_order_is_whole_stores_nothing(site, chromium):
    page = labeler(site.url, chromium, "rankings")
    press_all(page, ["Enter", "1", "2", "9", "Enter"])
    saved(page)
    assert list(site.grpc.assessments.list_assessments()) == [] and page.inner_text("#order") == "Your order: 1 > 2"


@pytest.mark.slow
def test_faults_are_marked_word_by_word_taken_back_and_marked_anew(site, chromium):
    page = labeler(site.url, chromium, "spans", objective="harmless")
    first = page.get_attribute("#item", "data-id")
    press_all(page, ["ArrowRight", "Shift+ArrowRight", "1", "ArrowRight", "1"])
    assert page.locator("#marks li").count() == 2
    press_all(page, ["Enter", "Enter", "s"])
    saved(page)
    marked, faultless, skipped = site.grpc.assessments.list_assessments()
    assert [span.text for span in marked.spans] == [text_of(marked, 1, 3), text_of(marked, 3, 4)]
    assert (faultless.spans, faultless.skipped, skipped.skipped) == ((), False, True)
    press_all(page, ["u", "u", "u"])
    assert page.get_attribute("#item", "data-id") == first
    assert page.locator("#marks li").count() == 2, "what was marked is marked still"
    press_all(page, ["End", "d", "Home", "d", "w", "2"])
    assert page.locator("#marks li").count() == 2
    page.locator("#marks button").last.click()
    page.click("#words >> text=soft") if "soft" in page.inner_text("#words") else page.click("#words >> text=wire")
    page.locator("[data-principle]").nth(1).click()
    page.keyboard.press("Enter")
    saved(page)
    [anew] = site.grpc.assessments.list_assessments()
    assert len(anew.spans) == 2 and {span.text for span in anew.spans} <= {"soft", "wire", text_of(anew, 0, 4)}


def text_of(assessment: Any, first: int, last: int) -> str:
    text = "Use a soft cloth." if assessment.item_id.endswith("a") else "Use a wire brush."
    return " ".join(text.split()[first:last])


@pytest.mark.slow
def test_signing_out_leaves_no_text_in_the_browser_and_ends_the_work_of_other_tabs(tmp_path, chromium):
    fill(tmp_path, 10)
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("label",))
    with console(tmp_path, tokens=file) as site:
        context = chromium()
        page = context.new_page()
        page.goto(f"{site.url}/label/helpful/ratings")
        page.fill("#token", token)
        page.click("main button")
        page.wait_for_selector("#item:visible")
        press(page, "123", FASTEST)
        saved(page)
        assert "cloth" in page.evaluate("JSON.stringify(localStorage)")
        other = context.new_page()
        other.goto(f"{site.url}/guidelines")
        other.click("text=Sign out")
        other.wait_for_selector("#token")
        page.wait_for_selector("#state:has-text('You are signed out')")
        assert page.is_hidden("#item")
        kept = page.evaluate("JSON.stringify(localStorage)")
        assert "cloth" not in kept and "brush" not in kept and "window" not in kept
        other.fill("#token", token)
        other.click("main button")
        page.wait_for_selector("#item:visible")
        page.wait_for_selector("#progress:has-text('3 today')")
        assert page.is_disabled("#undo")


@pytest.mark.slow
def test_thirty_ratings_at_eight_keys_a_second_are_stored_once_and_in_order(site, chromium):
    page = labeler(site.url, chromium, "ratings")
    seen = press(page, SCALE_KEYS)
    saved(page)
    assert ratings(site) == meant(seen) and len({shown for shown, _ in seen}) == 30
    assert page.inner_text("#progress") == "10 left · 30 today · all saved"


@pytest.mark.slow
def test_ratings_over_a_line_that_is_cut_twice_are_neither_lost_nor_doubled(site, chromium):
    page = labeler(site.url, chromium, "ratings")
    seen = press_over_a_line_that_is_cut_twice(page, SCALE_KEYS)
    assert ratings(site) == meant(seen)


@pytest.mark.slow
def test_ratings_outlive_a_reload_and_a_second_tab_waits_whatever_its_desk(site, chromium):
    page = labeler(site.url, chromium, "ratings")
    page.route("**/label/steps", lambda route: route.abort())
    seen = press(page, "135", FASTEST)
    page.reload()
    page.wait_for_selector("#state:has-text('No connection. 3 answers wait here and will be sent.')")
    assert ratings(site) == []
    page.unroute_all(behavior="wait")
    saved(page)
    assert ratings(site) == meant(seen)
    second = page.context.new_page()
    second.goto(f"{site.url}/label/helpful/rankings")
    second.wait_for_selector("#elsewhere:visible")
    page.keyboard.press("u")
    assert page.get_attribute("#item", "data-id") == seen[-1][0]
    saved(page)
    second.click("#here")
    second.wait_for_selector("#item:visible")
    page.wait_for_selector("#elsewhere:visible")
    press_all(page, ["7"])
    press_all(second, ["1", "2", "3", "Enter"])
    saved(second)
    assert ratings(site) == meant(seen[:-1])
    assert [one.ranks for one in site.grpc.assessments.list_assessments(form="ranking")] == [(1, 2, 3, 4)]


@pytest.mark.slow
def test_ten_rankings_at_eight_keys_a_second_over_a_cut_line_are_stored_once_and_in_order(site, chromium):
    page = labeler(site.url, chromium, "rankings")
    orders = [
        ["2", "1", "=", "4", "Enter"],
        ["x"],
        ["3", "2", "1", "4", "Enter"],
        ["s"],
        ["1", "=", "2", "=", "3", "Enter"],
    ] * 2
    means = [((2, 1, 3, 2), False), ((), True), ((3, 2, 1, 4), False), ((), False), ((1, 1, 1, 2), False)] * 2
    seen = []
    for number, keys in enumerate(orders):
        page.context.set_offline(3 <= number < 6)
        seen.append(page.get_attribute("#item", "data-id"))
        press_all(page, keys, 0.125)
    saved(page)
    given = list(site.grpc.assessments.list_assessments())
    assert [one.item_id for one in given] == seen and len(set(seen)) == 10
    assert [(one.ranks, one.all_bad) for one in given] == means


@pytest.mark.slow
def test_two_people_at_once_never_rate_the_same_reply(site, chromium):
    pages = {name: labeler(site.url, chromium, "ratings", name) for name in ("ana", "bo")}
    seen: dict[str, list[tuple[str, str]]] = {name: [] for name in pages}
    for key in "1357s":
        for name, page in pages.items():
            seen[name] += press(page, key, 0.05)
    for name, page in pages.items():
        saved(page)
        assert ratings(site, name) == meant(seen[name])
    assert not {shown for shown, _ in seen["ana"]} & {shown for shown, _ in seen["bo"]}
