"""Two runs side by side in the console, and over gRPC, from which the page has them."""

from __future__ import annotations

from contextlib import closing
from html import escape
from pathlib import Path

import pytest

from rlhf_core.comparison.compare import compare_runs
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import GoldScore, PolicyVersion
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.store.store import Store
from tests.services.console.conftest import console

PROMPTS = [Prompt.of(f"How do I clean tile {number}?", split="heldout") for number in range(4)]
ATTACK = "<script>alert(1)</script>"


def finished(store: Store, name: str, gold: list[float], seed: int) -> str:
    """A run whose policy has answered each prompt, with gold of helpful."""
    run = store.runs.create("pipeline", RunConfig(seed=seed, weights={"helpful": 1.0}).model_dump_json(), "k", "", name)
    claimed = store.runs.claim("elsewhere:1:1", 3600)
    assert claimed is not None
    made = {"policy_version": f"policy-{seed}", "run_id": run.id, "stage": "evaluate"}
    samples = [
        Sample(id=f"{run.id}-{i}", prompt=prompt, response=f"Wash it {seed} {ATTACK}", **made)
        for i, prompt in enumerate(PROMPTS)
    ]
    store.samples.add(samples)
    grades = zip(samples, gold, strict=True)
    store.gold_scores.add([GoldScore(sample_id=s.id, kind="helpful", score=score) for s, score in grades])
    version = {"stage": "ppo", "parent": "base", "base_model": "m", "artifact": "", "step": 1}
    store.policy_versions.add(PolicyVersion(id=f"policy-{seed}", run_id=run.id, **version))
    store.stage_results.add(StageResult(run_id=run.id, stage="ppo", policy_version=f"policy-{seed}"))
    store.stage_results.add(StageResult(run_id=run.id, stage="evaluate"))
    store.runs.release(run.id, claimed.fence, "SUCCEEDED")
    return run.id


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, str, str]:
    """The second run is better by 1 on every prompt."""
    with closing(Store.open(tmp_path)) as store:
        return tmp_path, finished(store, f"first {ATTACK}", [0, 1, 0, 1], 1), finished(store, "second", [1, 2, 1, 2], 2)


def test_two_runs_are_told_apart_in_numbers_settings_and_replies(two):
    folder, a, b = two
    with console(folder) as site:
        asked = site.http.get("/compare").text
        assert asked.count(f'value="{a}"') == asked.count(f'value="{b}"') == 2 and "Difference" not in asked
        page = site.http.get("/compare", params={"a": a, "b": b}).text
        assert "+1.00 [+1.00, +1.00]" in page and "<td>better</td>" in page
        assert f"Better: from {escape('first ' + ATTACK)} to second the weighted sum changed by +1.00" in page
        assert "All numbers are of these 4" in page and "helpful: better, from 0.50 to 1.50" in page
        assert "<code>seed</code>: 1 | 2" in page
        assert "<mark>1</mark>" in page and "<mark>2</mark>" in page
        assert ATTACK not in page and "first &lt;script&gt;" in page
        turned = site.http.get("/compare", params={"a": b, "b": a}).text
        assert "<td>worse</td>" in turned and "<td>not told apart</td>" in page


def test_what_cannot_be_compared_is_said_beside_the_lists_which_keep_the_choice(two):
    folder, a, b = two
    with closing(Store.open(folder)) as store:
        bare = store.runs.create("pipeline", "{}", "k", "", "bare").id
    with console(folder) as site:
        once = site.http.get("/compare", params={"a": a, "b": a})
        assert once.status_code == 400 and "Before and after are the same run" in once.text
        assert once.text.count(f'value="{a}" selected') == 2 and 'aria-label="Pages"' in once.text
        gone = site.http.get("/compare", params={"a": bare, "b": b})
        assert gone.status_code == 404 and "has evaluated no policy" in gone.text
        assert gone.text.count(f'value="{b}" selected') == 1


def test_what_is_in_production_comes_first_and_the_newest_policy_beside_it(two):
    folder, a, b = two
    with console(folder) as site:
        unset = site.http.get("/compare").text
        assert "In production is nobody" in unset and "In short" not in unset
        with closing(Store.open(folder)) as store:
            store.aliases.promote("production", "policy-1", "ana", "", "")
        page = site.http.get("/compare").text
        before, after = page.split('id="b"')
        assert f'value="{a}" selected' in before and f'value="{b}" selected' in after
        assert ", in production, 20" in before and "(in production) to second the weighted sum" in page
        assert page.count('<span class="badge production">in production</span>') == 1 + page.count("<h3>Before")
        assert f'value="{a}" selected' in site.http.get("/compare", params={"b": b}).text.split('id="b"')[0]
        assert "In short" not in site.http.get("/compare", params={"b": a}).text, "nothing is before production itself"


def test_the_service_compares_as_the_command_does_and_names_the_run_at_fault(two):
    folder, a, b = two
    with console(folder) as site:
        with closing(Store.open(folder)) as store:
            assert site.grpc.trainer.compare_runs(f"runs/{a}", "second") == compare_runs(store, a, b)
        with pytest.raises(InvalidInput) as caught:
            site.grpc.trainer.compare_runs(a, "")
        assert caught.value.field == "run_b"
        with pytest.raises(NotFound):
            site.grpc.trainer.compare_runs("gone", b)
