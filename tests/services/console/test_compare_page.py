"""Two runs side by side in the console, and over gRPC, from which the page has them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.comparison.compare import compare_runs
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.models import GoldScore
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
        assert "+1.00 [+1.00, +1.00]" in page and "the second is higher" in page
        assert "<code>seed</code>: 1 | 2" in page
        assert "<mark>1</mark>" in page and "<mark>2</mark>" in page
        assert ATTACK not in page and "first &lt;script&gt;" in page
        turned = site.http.get("/compare", params={"a": b, "b": a}).text
        assert "the second is lower" in turned and "not told apart" in page
        once = site.http.get("/compare", params={"a": a, "b": a})
        assert once.status_code == 400 and "are one run" in once.text


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
