"""Runs in the console: the list, a page that follows one as it happens, and what may be done from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
from google.protobuf.duration_pb2 import Duration

from rlhf_core.config.ppo import PpoConfig
from rlhf_core.evaluation.evaluate import StageEvaluation
from rlhf_core.evaluation.panel_summary import panel_summary
from rlhf_core.evaluation.report.record import ConstitutionName, Report
from rlhf_core.evaluation.run_summary import CritiqueCounts, FeedbackSummary
from rlhf_core.evaluation.statistics import Estimate
from rlhf_core.records.runs import StepMetrics
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process
from services.console import runs
from services.security.tokens import new_token
from tests.records import judge_gate
from tests.services.console.conftest import Site, console
from tests.services.run_server import CONFIG

ATTACK = "<script>alert(1)</script>"


class Followed(NamedTuple):
    site: Site
    store: Store
    run: str


@pytest.fixture
def followed(tmp_path: Path) -> Iterator[Followed]:
    """A run at work, whose worker is this test."""
    store = Store.open(tmp_path)
    store.workers.sign_in(this_process())
    with console(tmp_path) as site:
        config = CONFIG.model_copy(update={"weights": {"helpful": 3.0, "harmless": 1.0}})
        run = site.grpc.trainer.create_run(config, display_name=ATTACK, note=f"note {ATTACK}", tags={"sweep": ATTACK})
        claimed = store.runs.claim(this_process(), 3600)
        assert claimed and claimed.id == run.id
        yield Followed(site, store, run.id)
    store.close()


def step(store: Store, run: str, number: int, stage: str = "ppo", **values: float) -> None:
    row = StepMetrics(stage=stage, step=number, steps=40, values=values or {"kl": number / 10, "z.helpful": 0.5})
    store.events.append(run, "metrics", row.model_dump_json())


def events(site: Site, run: str, count: int, **headers: str) -> list[tuple[str, str, dict]]:
    """So many of the page's events: id, kind, body."""
    found: list[tuple[str, str, dict]] = []
    with site.http.stream("GET", f"/runs/{run}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
                continue
            found.append((fields.get("id", ""), fields["event"], json.loads(fields["data"])))
            fields = {}
            if len(found) == count:
                break
    return found


def report(run: str) -> Report:
    """Of one objective, from 0.25 to 0.75."""

    def policy(name: str, value: float) -> StageEvaluation:
        number = Estimate(value=value, low=value - 0.1, high=value + 0.1, n=8)
        plain = {"n_prompts": 8, "n_samples": 8, "gold": {"helpful": number}, "proxy": {}, "gold_change": {}}
        rest = dict.fromkeys(("length", "unfinished", "refusals"), number)
        return StageEvaluation.model_validate(
            {"name": name, "policy_version": "p", **plain, "harm_by_kind": {}, **rest}
        )

    return Report(
        run_id=run,
        kind="pipeline",
        created_at="2026-01-01T00:00:00Z",
        seed=0,
        objectives=("helpful",),
        weights={"helpful": 1.0},
        base_model="base",
        constitution=ConstitutionName(id="c", version="1", hash="h"),
        wall_seconds=1,
        peak_memory_mb=1,
        caveats=(f"caveat {ATTACK}",),
        stages=(policy("shipped", 0.25), policy(f"after {ATTACK}", 0.75)),
    )


def test_the_list_tells_runs_with_their_state_and_finds_them_by_it_and_by_tag(followed):
    page = followed.site.http.get("/runs").text
    assert followed.run in page and ">running<" in page and "ppo" not in page
    assert ATTACK not in page and page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 3
    found = {query: followed.run in followed.site.http.get("/runs", params=query).text for query in (
        "state=RUNNING", "state=FAILED", "tag=sweep", "tag=other")}  # fmt: skip
    assert found == {"state=RUNNING": True, "state=FAILED": False, "tag=sweep": True, "tag=other": False}
    wrong = followed.site.http.get("/runs", params={"state": "asleep"})
    assert wrong.status_code == 400 and "allowed: QUEUED, RUNNING" in wrong.text
    assert followed.site.http.get("/runs", params={"page": "x"}).status_code == 400


def test_a_list_longer_than_a_page_goes_on(tmp_path):
    store = Store.open(tmp_path)
    store.workers.sign_in(this_process())
    store.close()
    with console(tmp_path) as site:
        made = [site.grpc.trainer.create_run(CONFIG).id for _ in range(55)]
        first = site.http.get("/runs").text
        assert [run in first for run in made] == [False] * 5 + [True] * 50
        older = first.split('class="button" href="')[1].split('"')[0].replace("&amp;", "&")
        second = site.http.get(f"/runs{older}").text
        assert [run in second for run in made] == [True] * 5 + [False] * 50 and "Older runs" not in second


def test_a_run_s_page_sends_its_history_and_what_happens_then_and_goes_on_after_a_lost_line(followed):
    site, store, run = followed
    step(store, run, 1)
    store.events.append(run, "note", json.dumps({"text": ATTACK}))
    first = events(site, run, 6)
    assert [kind for _, kind, _ in first] == ["state", "run", "state", "run", "metrics", "note"]
    assert first[1][2]["status"] == "RUNNING", "what holds now, not what the first event said"
    assert first[4][2] == {"stage": "ppo", "step": 1, "steps": 40, "values": {"kl": 0.1, "z.helpful": 0.5}}
    step(store, run, 2)
    rest = events(site, run, 1, **{"last-event-id": first[-1][0]})
    assert [(kind, body["step"]) for _, kind, body in rest] == [("metrics", 2)]


def test_a_place_that_the_run_has_not_reached_or_that_is_none_breaks_nothing(followed):
    site, _, run = followed
    for last, kinds in (("9" * 30, []), ("x", ["state"])):
        assert [kind for _, kind, _ in events(site, run, len(kinds) or 1, **{"last-event-id": last})] == kinds


def test_the_events_end_when_the_run_does(followed):
    site, store, run = followed
    store.runs.release(run, store.runs.get(run).fence, "FAILED", error=f"it broke {ATTACK}")
    *_, last = events(site, run, 100)
    assert last[1] == "end"
    page = site.http.get(f"/runs/{run}").text
    assert 'data-ended="true"' in page and "it broke &lt;script&gt;" in page and ATTACK not in page


def test_a_run_s_page_has_its_scorecard_once_it_has_a_report(followed):
    site, store, run = followed
    assert "What came of it" not in site.http.get(f"/runs/{run}").text
    folder = site.data / "runs" / run
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report(run).model_dump_json())
    store.runs.release(run, store.runs.get(run).fence, "SUCCEEDED")
    page = site.http.get(f"/runs/{run}").text
    assert (
        "0.25 [0.15, 0.35]" in page
        and "0.75 [0.65, 0.85]" in page
        and "after &lt;script&gt;" in page
        and ATTACK not in page
    )
    assert "harmless 1.0, helpful 3.0" in page


def test_a_run_s_page_shows_each_judge_of_a_panel_as_it_was_measured_before_all_together(followed):
    site, store, run = followed
    seated = {"panel": "panel-1", "model": "base@1", "protocol": "notes", "weight": 1.0}
    fine = judge_gate(judge="fine", agreement=0.875, truth="human", **seated)
    out = judge_gate(judge="turned", agreement=0.125, passed=False, reason=f"says {ATTACK}", **seated | {"weight": 0.0})
    panel = panel_summary([], [fine, out], {})
    whole = (judge_gate(judge="panel-1"),)
    none = CritiqueCounts(total=0, complies=0, accepted=0, rejected={})
    told = FeedbackSummary(critiques=none, votes=0, labels={}, principles=(), gates=whole, panel=panel)
    folder = site.data / "runs" / run
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(report(run).model_copy(update={"feedback": told}).model_dump_json())
    store.runs.release(run, store.runs.get(run).fence, "SUCCEEDED")
    page = site.http.get(f"/runs/{run}").text
    assert page.index("notes of base@1") < page.index("not passed, left out") < page.index("panel-1</th>")
    assert "87.5 % of 40, by people" in page and "75.0 % of 40, by gold" in page
    assert "says &lt;script&gt;" in page and ATTACK not in page


def test_a_run_is_named_paused_and_ended_from_its_page_once_for_each_request(followed):
    site, _, run = followed
    origin = {"origin": site.url}

    def change(verb: str, **fields: str):
        return site.http.post(f"/runs/{run}", data={"verb": verb, "request_id": f"r-{verb}"} | fields, headers=origin)

    assert change("note", note="good", display_name="fine").status_code == 303
    assert (site.grpc.trainer.get_run(run).note, site.grpc.trainer.get_run(run).display_name) == ("good", "fine")
    for _ in range(2):
        assert change("pause").status_code == 303
    assert site.grpc.trainer.get_run(run).status == "PAUSING"
    assert change("cancel").status_code == 303
    assert site.grpc.trainer.get_run(run).status == "CANCELLING"
    wrong = change("explode")
    assert wrong.status_code == 400 and "allowed: note, pause, resume, cancel" in wrong.text


def test_saving_a_name_leaves_a_note_that_somebody_wrote_meanwhile(followed):
    site, store, run = followed
    page = site.http.get(f"/runs/{run}").text
    assert 'name="old_note" value="note &lt;script&gt;' in page
    store.runs.update(run, {"note": "written\nmeanwhile"})
    shown = {"old_note": f"note {ATTACK}", "note": f"note {ATTACK}", "old_display_name": ATTACK, "display_name": "mine"}

    def save(**fields: str) -> tuple[str, str]:
        answer = site.http.post(f"/runs/{run}", data={"verb": "note"} | fields, headers={"origin": site.url})
        assert answer.status_code == 303
        return store.runs.get(run).display_name, store.runs.get(run).note

    assert save(**shown) == ("mine", "written\nmeanwhile")
    unchanged = {"old_note": "a\r\nb", "note": "a\r\nb", "old_display_name": "mine", "display_name": "mine"}
    assert save(**unchanged) == ("mine", "written\nmeanwhile")
    assert save(**unchanged | {"note": ""}) == ("mine", "")


def test_what_a_run_spent_and_how_its_replies_sound_is_on_its_page(followed, chromium):
    site, store, run = followed
    for number in (1, 2):
        spent = {"endpoint.cost": 0.25, "endpoint.requests": 600, "endpoint.completion_tokens": 2000}
        step(store, run, number, "label", **spent)
    for number in (1, 2):
        step(store, run, number, "ppo", **{"kl": 1.0, "monitor.refusals": 0.1, "monitor.length_ratio": 1.5})
    store.events.append(run, "stage", json.dumps({"stage": "label", "seconds": 75.0}))
    page = chromium().new_page()
    page.goto(f"{site.url}/runs/{run}")
    page.locator("#cost", has_text="0.5 for 1,200 requests, 4,000 tokens").wait_for()
    page.locator("#took", has_text="1 min 15 s").wait_for()
    page.locator("#curves figcaption", has_text="share of replies that refuse").wait_for()
    assert page.locator("#others figcaption", has_text="monitor").count() == 0


def test_who_may_only_read_sees_no_buttons_and_their_requests_are_refused(tmp_path):
    file = tmp_path / "tokens.yaml"
    reads, trains = (new_token(file, name, (name,)) for name in ("read", "train"))
    store = Store.open(tmp_path)
    run = store.runs.create("pipeline", CONFIG.model_dump_json(), "", "r").id
    store.close()
    with console(tmp_path, tokens=file) as site:
        site.http.cookies.set("charter_token", reads)
        page = site.http.get(f"/runs/{run}").text
        assert "Pause" not in page and "End it" not in page
        refused = site.http.post(f"/runs/{run}", data={"verb": "cancel"}, headers={"origin": site.url})
        assert refused.status_code == 403 and "CancelRun needs train" in refused.text
        site.http.cookies.set("charter_token", trains)
        assert "Pause" in site.http.get(f"/runs/{run}").text


def test_events_without_a_token_are_refused_and_lead_to_no_page(tmp_path):
    """A browser that is led on takes the page for events that are broken."""
    file = tmp_path / "tokens.yaml"
    new_token(file, "ana", ("read",))
    with console(tmp_path, tokens=file) as site:
        answer = site.http.get("/runs/r/events", headers={"accept": "text/event-stream"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHENTICATED")


def test_a_run_that_is_not_there_is_said(site):
    for path in ("/runs/run-gone", "/runs/run-gone/events"):
        answer = site.http.get(path)
        assert answer.status_code == 404 and "run-gone" in answer.text


@pytest.mark.slow
def test_curves_grow_as_the_run_goes(followed, chromium):
    site, store, run = followed
    step(store, run, 1, stage="sft", loss=2.0)
    for number in range(1, 4):
        step(store, run, number)
    store.events.append(run, "stage", json.dumps({"stage": "sft", "state": "done", "seconds": 75.0}))
    store.events.append(run, "note", json.dumps({"text": ATTACK}))
    page = chromium().new_page()
    page.goto(f"{site.url}/runs/{run}")
    page.wait_for_selector("figure canvas")
    assert not page.is_visible("#wrong"), "no note is an alarm yet"
    store.events.append(run, "note", json.dumps({"text": "replies 16%, above the limit of 14%", "alarm": True}))
    page.locator("#wrong #alarms li", has_text="above the limit").wait_for()
    assert page.locator("#curves figcaption").all_inner_texts() == [
        "score, in sd of the reference policy",
        "KL to the reference, nats per reply",
    ]
    assert page.inner_text("#stages .done") == "supervised fine-tuning 1 min 15 s"
    assert page.inner_text("#notes") == ATTACK and page.inner_text("h1").startswith(ATTACK)
    kl = page.locator("#curves figure").nth(1).locator(".u-legend")
    kl.get_by_text("0.3").wait_for()
    step(store, run, 4)
    kl.get_by_text("0.4").wait_for()
    assert page.inner_text("#now") == "ppo 4/40"
    step(store, run, 3)  # gone on with from a checkpoint
    kl.get_by_text("0.3").wait_for()
    page.click("#tabs >> text=sft")
    assert page.locator("#curves figcaption").all_inner_texts() == ["loss"]


@pytest.mark.slow
def test_a_page_comes_back_to_a_server_that_was_starting(followed, chromium):
    """A browser takes up a line that drops by itself, and no answer that is an error."""
    site, store, run = followed
    step(store, run, 1)
    page, tries = chromium().new_page(), []

    def starting(route) -> None:
        tries.append(route.request.url)
        if len(tries) == 1:
            route.fulfill(status=503, body="the model is loading")
        else:
            route.continue_()

    page.route("**/events*", starting)
    page.goto(f"{site.url}/runs/{run}")
    page.locator("#curves figure").first.wait_for()
    step(store, run, 2)
    page.get_by_text("ppo 2/40").wait_for()
    assert len(tries) == 2


@pytest.mark.slow
def test_a_page_whose_session_has_ended_says_so_and_asks_for_events_no_more(tmp_path, chromium, monkeypatch):
    monkeypatch.setattr(runs, "HEARTBEAT", Duration(seconds=1))
    file = tmp_path / "tokens.yaml"
    token = new_token(file, "ana", ("read",))
    with closing(Store.open(tmp_path)) as store:
        run = store.runs.create("pipeline", CONFIG.model_dump_json(), "", "r").id
    with console(tmp_path, tokens=file) as site:
        page, asked = chromium().new_page(), []
        page.goto(f"{site.url}/runs/{run}")
        page.fill("#token", token)
        page.press("#token", "Enter")
        page.wait_for_selector("#run")
        page.on("request", lambda request: asked.append(request.url) if "/events" in request.url else None)
        assert page.request.post(f"{site.url}/sign-out", headers={"origin": site.url}, data="-").ok
        page.locator("#stopped", has_text="You are signed out.").wait_for()
        before = len(asked)
        assert before, "the browser has taken the line up again"
        page.wait_for_timeout(4000)
        assert len(asked) == before
        page.click("text=Load it again")
        page.wait_for_selector("#token")


def test_a_control_that_a_run_leaves_out_is_no_stage_of_its_page(followed):
    assert 'data-stage="control"' in followed.site.http.get(f"/runs/{followed.run}").text
    without = CONFIG.model_copy(update={"ppo": PpoConfig(control_steps=0)})
    run = followed.site.grpc.trainer.create_run(without).id
    page = followed.site.http.get(f"/runs/{run}").text
    assert 'data-stage="control"' not in page and 'data-stage="ppo"' in page


@pytest.mark.slow
def test_what_took_no_second_is_not_said_to_have_taken_none(followed, chromium):
    for seconds, stage in ((0.0, "critique"), (61.0, "sft")):
        done = {"stage": stage, "state": "done", "seconds": seconds}
        followed.store.events.append(followed.run, "stage", json.dumps(done))
    page = chromium().new_page()
    page.goto(f"{followed.site.url}/runs/{followed.run}")
    page.wait_for_selector("[data-stage=sft].done")
    assert page.inner_text("[data-stage=critique] .soft") == "under 1 s"
    assert page.inner_text("[data-stage=sft] .soft") == "1 min 1 s"
