"""Studies in the console: the list, one while people are asked, and what came of it."""

from __future__ import annotations

from pathlib import Path

from services.security.tokens import new_token
from tests.services.console.conftest import console
from tests.services.rpc.test_studies import TWO, add_policy, draw, label
from tests.services.rpc.test_study_ratings import PLAN, rate
from tests.services.run_server import run_server


def test_a_study_is_listed_followed_and_its_results_are_drawn_with_every_name_as_text(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        study = server.client.studies.create_study(TWO, objectives=["harmless"], display_name="<b>new</b>?")
    with console(tmp_path) as site:
        assert "being written" in site.http.get(f"/studies/{study.id}").text
        draw(tmp_path, study.id)
        listing = site.http.get("/studies").text
        assert "&lt;b&gt;new&lt;/b&gt;?" in listing and "harmless 0/12" in listing
        assert f"/label/harmless?run={study.id}" in site.http.get(f"/studies/{study.id}").text
        label(site.grpc, study.id, "harmless", 12)
        page = site.http.get(f"/studies/{study.id}").text
        assert "closed: decided" in page and "<b>policy-1</b>" in page and '<circle class="value" cx="6.0"' in page
        assert "Label for" not in page
        assert site.http.get("/studies/run-gone").status_code == 404


def test_a_page_tells_nobody_who_leads_before_it_may(tmp_path: Path):
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("label",))
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        fixed, open_ = (
            server.client.studies.create_study(TWO, objectives=["harmless"], stopping=rule, display_name=rule)
            for rule in ("fixed", "sequential")
        )
        draw(tmp_path, open_.id)
        label(server.client, open_.id, "harmless", 3)
    with console(tmp_path, tokens=file) as site:
        cookies = {"charter_token": token}
        page = site.http.get(f"/studies/{open_.id}", cookies=cookies).text
        assert "do not see who leads" in page and "Win rate" not in page and "3 of 12" in page
        assert "being written" in site.http.get(f"/studies/{fixed.id}", cookies=cookies).text


def test_a_study_of_a_fixed_size_says_when_its_results_come(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        study = server.client.studies.create_study(TWO, objectives=["harmless"], stopping="fixed")
        draw(tmp_path, study.id)
    with console(tmp_path) as site:
        assert "told once every pair has its labels" in site.http.get(f"/studies/{study.id}").text


def test_a_study_s_ratings_are_asked_for_and_their_results_drawn(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        study = server.client.studies.create_study(TWO, **PLAN | {"ratings_per_reply": 2, "stopping": "sequential"})
        draw(tmp_path, study.id, pairs=4)
        label(server.client, study.id, "harmless", 4)
        rate(server.client, study.id, 8)
    with console(tmp_path) as site:
        page = site.http.get(f"/studies/{study.id}").text
        assert "every reply rated by 2 people" in page and "and every reply has its ratings" in page
        assert "0 of 8 replies rated" in page and f"/label/harmless/ratings?run={study.id}" in page
        assert "unfinished: 0 of 8 replies have all their ratings" in page and "Mean rating" not in page
        assert "harmless 4/4, harmless rated 0/8" in site.http.get("/studies").text
        tasks = site.http.get(f"/label?run={study.id}").text
        assert ">Rate replies</a> (8)" in tasks
        for number in range(4):
            for policy, grade in (("base", 3), ("policy-1", 4 + number % 2)):
                given = {"objective": "harmless", "labeler": "bo", "run_id": study.id}
                site.grpc.assessments.submit("rating", [f"{study.id}{policy}{number}"], rating=grade, **given)
        page = site.http.get(f"/studies/{study.id}").text
        assert "finished: 8 of 8 replies have all their ratings" in page and "Rate replies for" not in page
        assert "<b>policy-1 is rated higher than base</b>" in page and "paired by 4 prompts" in page
        assert "3.25 [2.79, 3.71]" in page, "means of prompts 3, 3.5, 3, 3.5"
        assert "agreement of raters: alpha" in page and "16 ratings by 2 people" in page


def test_a_fixed_study_with_ratings_says_that_they_are_waited_for_too(tmp_path: Path):
    with run_server(tmp_path) as server:
        add_policy(tmp_path)
        study = server.client.studies.create_study(TWO, **PLAN)
        draw(tmp_path, study.id)
    with console(tmp_path) as site:
        page = site.http.get(f"/studies/{study.id}").text
        assert "told once every pair has its labels, and every reply its ratings." in page
