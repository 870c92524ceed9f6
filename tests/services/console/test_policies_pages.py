"""Policies and the constitution in the console, before a server with a tiny model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from rlhf_core.config.run import ModelConfig
from rlhf_core.constitution.load import load_with_text
from rlhf_core.errors import Unavailable
from rlhf_core.records.models import PolicyVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Prompt
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.server.config import ConsoleConfig, ServeConfig
from tests.services.apps import started
from tests.services.console.conftest import Site, console


@pytest.fixture(scope="module")
def full(
    tmp_path_factory: pytest.TempPathFactory, model_config: ModelConfig, trained: Callable[[Path], str]
) -> Iterator[Site]:
    """One trained policy, which no judge taught, and no alias."""
    data = tmp_path_factory.mktemp("full")
    trained(data)
    address = f"unix:{data}/s"
    config = ServeConfig(
        address=address,
        data=data,
        model=model_config,
        constitution="household",
        works=False,
        console=ConsoleConfig(address="127.0.0.1:0"),
    )
    with (
        started(config) as app,
        httpx2.Client(base_url=app.console_address, timeout=60) as http,
        CharterClient.connect(address, timeout_seconds=60) as client,
    ):
        yield Site(app.console_address, http, client, data)


def add_ungated(data: Path) -> None:
    """A finished policy whose judge had not passed its gate."""
    with closing(Store.open(data)) as store:
        run = store.runs.create("pipeline", "{}", "k", "ungated")
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed and claimed.id == run.id
        version = store.policy_versions.get("policy-1")
        store.policy_versions.add(version.model_copy(update={"id": "policy-u", "run_id": run.id, "ungated": True}))
        store.stage_results.add(StageResult(run_id=run.id, stage="sft", policy_version="policy-u"))
        store.runs.release(run.id, claimed.fence, "SUCCEEDED")


def change(site: Site, verb: str, **fields: str) -> httpx2.Response:
    return site.http.post("/policies", data={"verb": verb} | fields, headers={"origin": site.url})


def test_a_policy_is_promoted_and_taken_back_and_the_page_says_who_is_in_production(full):
    assert "<b>nobody</b>: the base model answers" in full.http.get("/policies").text
    full.http.post("/label/name", data={"name": "ana"}, headers={"origin": full.url})
    for _ in range(2):  # a browser may send a form twice
        asked = {"policy": "policy-1", "alias": "production", "reason": "<b>why</b>", "request_id": "p1"}
        assert change(full, "promote", **asked).status_code == 303
    page = full.http.get("/policies").text
    assert "In production: <b>policy-1</b>" in page and "&lt;b&gt;why&lt;/b&gt;" in page and "by ana" in page
    assert page.count("(was nobody)") == 1
    assert full.grpc.policy.get_policy().version.id == "policy-1"
    assert change(full, "rollback", alias="production", request_id="r1").status_code == 303
    assert "<b>nobody</b>: the base model answers" in full.http.get("/policies").text
    assert ", rolled back" in full.http.get("/policies").text


def test_what_cannot_be_promoted_is_refused_in_the_service_s_words(full):
    answer = change(full, "promote", policy="policy-9", alias="production")
    assert answer.status_code == 404 and "policy-9" in answer.text
    answer = change(full, "promote", policy="policy-1", alias="NO")
    assert answer.status_code == 400 and "alias" in answer.text
    assert change(full, "crown").status_code == 400
    assert full.http.get("/policies", params={"run": "run-gone"}).status_code == 404


def test_the_constitution_is_read_and_its_text_checked_as_it_is_typed(full, chromium):
    page = chromium().new_page()
    page.goto(f"{full.url}/constitution")
    page.locator("#verdict", has_text="0 mistakes, 0 doubts. household 1.0.0: 7 principles").wait_for()
    text = page.input_value("#text")
    page.fill("#text", text.replace("title: No burns", "titel: No burns"))
    page.locator("#verdict.wrong").wait_for()
    line = text.split("\n").index("    title: No burns") + 1
    place = page.locator("#problems button").first
    assert place.inner_text() == f"{line}:5"
    assert "titel" in page.inner_text("#problems")
    place.click()
    start = page.evaluate("document.getElementById('text').selectionStart")
    assert text[:start].count("\n") == line - 1
    page.fill("#text", "<img src=x onerror=alert(1)>: [")
    page.locator("#problems li", has_text="C").first.wait_for()
    assert page.locator("#problems img").count() == 0


def test_a_server_without_the_judge_shows_the_constitution_and_checks_no_text(site):
    page = site.http.get("/constitution").text
    assert "No poisonous fumes" in page and "<textarea" not in page


def test_a_server_without_a_model_shows_what_is_in_production_and_changes_nothing(tmp_path):
    with closing(Store.open(tmp_path)) as store:
        run = store.runs.create("pipeline", "{}", "k", "", "spring").id
        other = store.runs.create("pipeline", "{}", "k", "", "summer").id
        made = {"run_id": run, "stage": "ppo", "parent": "base", "base_model": "sandbox", "artifact": "a"}
        store.policy_versions.add(PolicyVersion(id="policy-1", **made))
    with console(tmp_path) as site:
        assert "<b>nobody</b>: the base model answers" in site.http.get("/runs").text
        with closing(Store.open(tmp_path)) as store:
            store.aliases.promote("production", "policy-1", "ana", "<i>good</i>", "")
        listed = site.http.get("/runs").text
        assert 'href="/policies"' in listed and listed.count(">in production</span>") == 1
        for page in (listed, site.http.get("/policies").text, site.http.get(f"/runs/{run}").text):
            assert "<b>policy-1</b>" in page and "promoted by ana: &lt;i&gt;good" in page
        beside = site.http.get(f"/runs/{other}").text
        assert "This run made what is in production" not in beside and "In production is another run" in beside
        assert "Compare it with what is in production" in beside
        policies = site.http.get("/policies").text
        assert "<button" not in policies and "Shown only" in policies
        promotion = {"policy": "policy-1", "alias": "other"}
        assert change(site, "promote", **promotion).status_code == 503
        with pytest.raises(Unavailable, match="does not offer"):
            site.grpc.policy.generate([Prompt.of("Hi")])
        assert site.grpc.policy.get_policy().version.id == "policy-1"


def edit(site: Site, text: str, **fields: str) -> httpx2.Response:
    asked = {"text": text, "before": ""} | fields
    return site.http.post("/constitution/diff", data=asked, headers={"origin": site.url})


def test_an_edit_is_shown_word_by_word_with_its_bill_and_its_text_is_kept(full):
    text = load_with_text("household")[1]
    changed = text.replace("title: No burns", "title: No <b>burns</b>").replace("weight: 2", "weight: 3")
    page = edit(full, changed).text
    assert "<ins>&lt;b&gt;" in page or "&lt;/b&gt;</ins>" in page
    assert "Reward models to train again" in page and "<b>burns</b>" not in page.split("</main>")[0]
    assert "No &lt;b&gt;burns&lt;/b&gt;" in page.split('id="text"')[1]
    assert "Both mean the same." in edit(full, text).text
    gone = edit(full, without(text, "no-fumes")).text
    assert '<td>removed</td><th scope="row">no-fumes</th>' in gone and "train again: harmless" in gone


def without(text: str, principle: str) -> str:
    """The text less one principle."""
    before, _, rest = text.partition(f"  - id: {principle}\n")
    return before + "  - id: " + rest.partition("  - id: ")[2]


def test_a_text_with_a_mistake_is_not_lost_and_the_mistake_is_located(full):
    answer = edit(full, "id: x\n<script>alert(1)</script>")
    assert answer.status_code == 400
    assert "the edit:" in answer.text and "id: x\n&lt;script&gt;" in answer.text and "<script>alert" not in answer.text


def test_effects_that_cannot_be_measured_end_the_page_in_words(full):
    page = edit(full, without(load_with_text("household")[1], "no-fumes"), effects="on", pairs="2").text
    assert "no built-in tasks" in page and page.rstrip().endswith("</html>")


@pytest.mark.slow
def test_the_effects_of_an_edit_on_labels_come_as_the_judge_goes_on(tmp_path):
    config = ServeConfig(
        address=f"unix:{tmp_path}/s", data=tmp_path, works=False, console=ConsoleConfig(address="127.0.0.1:0")
    )
    with started(config) as app, httpx2.Client(base_url=app.console_address, timeout=120) as http:
        asked = {"text": without(load_with_text("household")[1], "no-fumes"), "effects": "on", "pairs": "2"}
        answer = http.post("/constitution/diff", data=asked, headers={"origin": app.console_address})
    assert "judge: 100%" in answer.text and "judge again: " in answer.text
    assert "2 pairs of" in answer.text and ">harmless</th>" in answer.text and "Not measured" in answer.text


def test_who_may_not_promote_yet_is_told_what_the_page_has_for_it(full):
    add_ungated(full.data)
    refused = change(full, "promote", policy="policy-u", alias="candidate", reason="why", request_id="u1")
    assert refused.status_code == 409
    assert "a judge has not passed its test, the gate" in refused.text
    assert "tick under Promote" in refused.text and "allow_ungated" not in refused.text
    asked = {"policy": "policy-u", "alias": "candidate", "reason": "why", "request_id": "u2", "allow_ungated": "on"}
    assert change(full, "promote", **asked).status_code == 303
