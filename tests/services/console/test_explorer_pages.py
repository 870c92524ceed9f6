"""The rollout explorer in the console: replies found by a form, and the page of each with its lineage."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlhf_core.config.run import DataConfig, RunConfig
from rlhf_core.records.feedback import Critique, Opinion, Revision
from rlhf_core.records.models import PolicyVersion, Score
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.store.store import Store
from tests.records import norm_pack
from tests.services.console.conftest import Site, console
from tests.store.examples import preference, vote

ATTACK = "<script>alert(1)</script>"
SAID = html.escape(ATTACK)
DATASET = f"dataset:mine@{'ab' * 32}"


class Explored(NamedTuple):
    site: Site
    run: str

    def page(self, path: str = "", **query: str) -> str:
        answer = self.site.http.get(f"/runs/{self.run}/samples{path}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.text


def filled(folder: Path, count: int = 30) -> str:
    """So many replies to a prompt, of which the first has been criticised, scored line by line, judged and labelled."""
    with closing(Store.open(folder)) as store:
        run = store.runs.create(
            "pipeline", RunConfig(data=DataConfig(prompts=DATASET)).model_dump_json(), "c-hash", ""
        ).id
        made: dict[str, Any] = {"run_id": run, "stage": "sft", "parent": "base", "base_model": f"model {ATTACK}"}
        store.policy_versions.add(PolicyVersion(id="policy-1", artifact="adapter-digest", **made))
        store.norm_packs.add(norm_pack(run_id=run, reward_models=("rm", "b"), sd=(2.0, 1.0)))
        store.stage_results.add(StageResult(run_id=run, stage="norm_pack", norm_pack="pack"))
        prompt = Prompt.of(f"How do I dry socks? {ATTACK}")
        drawn: dict[str, Any] = {"prompt": prompt, "policy_version": "policy-1", "run_id": run, "stage": "ppo"}
        drawn["logprob"] = -0.01
        samples = [
            Sample(id=f"s{n}", response=f"Hang them up.\n\nWait {n} hours. {ATTACK}", kl=n / 2, **drawn)
            for n in range(count)
        ]
        pair = Comparison.of(samples[0], samples[1], run)
        store.comparisons.add([pair])
        store.samples.add(samples)
        scores = [
            Score(sample_id=s.id, objective="helpful", reward_model="rm", score=n - 3) for n, s in enumerate(samples)
        ]
        store.scores.add([scores[0].model_copy(update={"steps": (0.25, -3.25)}), *scores[1:]])
        said: dict[str, Any] = {"principle_hash": "h", "constitution_hash": "k", "template_hash": "t", "critic": "c"}
        critique = Critique(
            sample_id="s0", principle_id="no-fumes", verdict="violates", text=f"Bad: {ATTACK}", spans=(ATTACK,), **said
        )
        step: dict[str, Any] = {"critique": critique, "before": samples[0].response, "after": "Hang them outside."}
        store.revisions.add([Revision(id="r", run_id=run, sample_id="s0", round=0, accepted=True, **step)])
        store.votes.add([vote("v", pair.id, run)])
        store.preferences.submit(preference("p", pair.id, f"human:{ATTACK}", "helpful"), "q")
    return run


@pytest.fixture
def explored(tmp_path: Path) -> Iterator[Explored]:
    run = filled(tmp_path)
    with console(tmp_path) as site:
        yield Explored(site, run)


def test_replies_are_found_by_each_field_of_the_form_and_counted(explored):
    assert "30 replies." in explored.page()
    for query, count in (
        ({"stage": "ppo"}, "30 replies"),
        ({"stage": "sft"}, "0 replies"),
        ({"policy_version": "policy-1", "min_kl": "14"}, "2 replies"),
        ({"objective": "helpful", "min_score": "0", "max_score": "1.5"}, "2 replies"),
        ({"max_kl": "0"}, "1 reply"),
        ({"verdict": "violates"}, "1 reply"),
        ({"principle_id": "no-fumes", "verdict": "complies"}, "0 replies"),
        ({"text": "wait 12 HOURS"}, "1 reply"),
    ):
        assert f"{count} like that." in explored.page(**query), query
    chosen = explored.page(stage="ppo", text="hours")
    assert '<option value="ppo" selected>' in chosen and 'value="hours"' in chosen
    assert "helpful -3.00 to 26.00" in chosen and "(30)" in chosen


def test_replies_beyond_a_page_follow_with_the_same_question(explored):
    first = explored.page(text="hours")
    assert first.count('class="card"') == 25
    link = html.unescape(first.split('class="button" href="')[1].split('"')[0])
    second = explored.site.http.get(f"/runs/{explored.run}/samples{link}").text
    assert second.count('class="card"') == 5 and 'class="button"' not in second and 'value="hours"' in second


def test_a_reply_s_page_has_all_that_is_known_of_it_up_to_the_hashes(explored):
    page = explored.page("/s0")
    for words in (
        *("Bad: ", "violates", "<h3>After</h3>", "<mark>", "policy-1", "adapter-digest", "c-hash", DATASET, "pack"),
        *("-3.000", "-1.50", "0.25", "-3.25", "Beside other replies", "this one is better, 1.00", "fumes, first: 0.78"),
        "log-probability 0.0<",
    ):
        assert words in page, words
    other = explored.page("/s1")
    assert "the other one is better, 0.00" in other and "fumes, second: 0.22" in other and "Critique" not in other


def test_of_a_panel_a_reply_s_page_tells_each_judge_s_votes_and_opinion(explored):
    with closing(Store.open(explored.site.data)) as store:
        pair = store.comparisons.of_run(explored.run)[0]
        store.votes.add([vote("w", pair.id, explored.run).model_copy(update={"judge": "other", "protocol": "notes"})])
        said = (
            Opinion(judge="fine", probability=0.9, weight=1),
            Opinion(judge=f"turned {ATTACK}", probability=0.2, weight=0),
            Opinion(judge="silent", probability=0.5, weight=1, reason="label_mass"),
        )
        label = preference("panel", pair.id, "ai:panel-1", "helpful")
        store.preferences.add([label.model_copy(update={"opinions": said, "run_id": explored.run})])
    page, other = explored.page("/s0"), explored.page("/s1")
    for words in ("other by notes", "fine", "0.90", f"turned {SAID}, left out", "0.20", "abstains: label_mass"):
        assert words in page, words
    assert "0.10" in other and "0.80" in other and ATTACK not in page


def test_odds_that_round_to_certainty_are_told_in_nats(explored):
    with closing(Store.open(explored.site.data)) as store:
        pair = store.comparisons.of_run(explored.run)[0]
        whole = vote("w", pair.id, explored.run)
        contrast = {"judge": "other", "protocol": "contrast", "logprob_a": -12.5, "logprob_b": -35.9}
        store.votes.add([whole.model_copy(update=contrast)])
    assert "1.00, by 23 nats" in explored.page("/s0") and "0.00, by 23 nats" in explored.page("/s1")


def test_what_is_wrong_with_a_question_is_said_and_what_is_not_there_too(explored):
    http, base = explored.site.http, f"/runs/{explored.run}/samples"
    for query, words in (
        ({"min_kl": "much"}, "KL from: &#39;much&#39; is no number"),
        ({"max_score": "1"}, "objective: not given"),
        ({"min_kl": "nan"}, "a finite number"),
        ({"verdict": "fine"}, "allowed: complies, borderline, violates"),
        ({"page": "x"}, "page_token"),
    ):
        answer = http.get(base, params=query)
        assert answer.status_code == 400 and words in answer.text, query
    assert http.get("/runs/gone/samples").status_code == http.get(f"{base}/gone").status_code == 404


def test_script_in_replies_prompts_and_critiques_stays_text(explored):
    for page in (explored.page(), explored.page(text=ATTACK), explored.page("/s0")):
        assert ATTACK not in page and SAID in page


def test_the_run_s_page_leads_to_its_replies(explored):
    assert f'href="/runs/{explored.run}/samples"' in explored.site.http.get(f"/runs/{explored.run}").text
