"""A study's replies rated by keys in a real browser: stored once and in order, beside its pairs and apart from them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services.console.conftest import Site, console, fill
from tests.services.console.desks import labeler, press, press_over_a_line_that_is_cut_twice, saved
from tests.services.rpc.test_studies import TWO, add_policy, draw
from tests.services.rpc.test_study_ratings import PLAN
from tests.services.run_server import run_server


@pytest.fixture
def study(tmp_path) -> str:
    """Sixteen prompts, to be rated once; other replies wait for ratings that train."""
    fill(tmp_path, 20)
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        made = server.client.studies.create_study(TWO, **PLAN)
    draw(tmp_path, made.id, pairs=16)
    return made.id


@pytest.fixture
def site(tmp_path, study) -> Iterator[Site]:
    with console(tmp_path) as started:
        yield started


def stored(site: Site, form: str = "rating") -> list[tuple[str, int | None]]:
    return [(one.item_id, one.rating) for one in site.grpc.assessments.list_assessments(form=form)]


@pytest.mark.slow
def test_thirty_ratings_of_a_study_are_stored_once_and_in_order_over_a_line_that_is_cut_twice(site, study, chromium):
    page = labeler(site.url, chromium, "ratings", objective="harmless", run=study)
    assert page.inner_text("#progress") == "32 left \u00b7 0 today \u00b7 all saved"
    seen = press_over_a_line_that_is_cut_twice(page, "172635415176253141726354172635")
    assert stored(site) == [(shown, int(key)) for shown, key in seen]
    assert all(shown.startswith(study) for shown, _ in seen), "none of those that wait elsewhere"
    press(page, "77")
    page.wait_for_selector("#state:has-text('Nothing is left to label for harmless.')")
    saved(page)
    [asked] = site.grpc.studies.get_study(study).rating_questions
    assert (asked.done, asked.closed_because) == (32, "complete")
    page.keyboard.press("u")
    page.wait_for_selector("#item:visible")
    assert page.inner_text("#state") == "Taken back: rated 7."
    saved(page)
    assert site.grpc.studies.get_study(study).rating_questions[0].closed_because == ""
    press(page, "6")
    saved(page)
    assert stored(site)[-1][1] == 6 and len(stored(site)) == 32


@pytest.mark.slow
def test_a_study_s_pairs_and_ratings_are_two_desks_that_take_nothing_from_each_other(site, study, chromium):
    page = labeler(site.url, chromium, "ratings", objective="harmless", run=study)
    press(page, "35")
    saved(page)
    page.goto(f"{site.url}/label/harmless?run={study}")
    page.wait_for_selector("#item:visible")
    press(page, "aab")
    saved(page)
    page.keyboard.press("u")
    saved(page)
    made = site.grpc.studies.get_study(study)
    assert (made.questions[0].done, made.rating_questions[0].done) == (2, 2)
    page.goto(f"{site.url}/label/harmless/ratings?run={study}")
    page.wait_for_selector("#item:visible")
    page.keyboard.press("u")
    saved(page)
    made = site.grpc.studies.get_study(study)
    assert (made.questions[0].done, made.rating_questions[0].done) == (2, 1), "each takes back its own last answer"
