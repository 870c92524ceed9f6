"""What a sweep tells, from runs whose gold is written by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rlhf_core.comparison.sweep import Sweep, sweep_of
from rlhf_core.comparison.sweep_page import sweep_page
from rlhf_core.config.run import RunConfig
from rlhf_core.errors import NotFound
from rlhf_core.records.base import RunState
from rlhf_core.records.models import GoldScore
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.store.store import Store

PROMPTS = [Prompt.of(f"How do I clean tile {number}?", split="heldout") for number in range(4)]
Made = Callable[..., str]


@pytest.fixture
def store(tmp_path: Path):
    opened = Store.open(tmp_path / "data")
    yield opened
    opened.close()


@pytest.fixture
def run(store: Store) -> Made:
    """`run(kl, seed, helpful, harmless)` is a finished run of the sweep; gold is given for each of four prompts."""

    def make(
        kl: float,
        seed: int,
        helpful: list[float],
        harmless: list[float],
        *,
        ends: RunState = "SUCCEEDED",
        prompts=PROMPTS,
    ) -> str:
        config = RunConfig.model_validate({"seed": seed, "ppo": {"kl_coef": kl}}).model_dump_json()
        made = store.runs.create("pipeline", config, "k", "", tags={"sweep": "kl"})
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed is not None
        samples = [
            Sample(
                id=f"{made.id}-{i}", prompt=prompt, response="wipe it", policy_version=f"policy-{made.id}"
            ).model_copy(update={"run_id": made.id, "stage": "evaluate"})
            for i, prompt in enumerate(prompts)
        ]
        store.samples.add(samples)
        for kind, scores in (("helpful", helpful), ("harmless", harmless)):
            rows = zip(samples, scores, strict=True)
            store.gold_scores.add([GoldScore(sample_id=sample.id, kind=kind, score=score) for sample, score in rows])
        store.stage_results.add(StageResult(run_id=made.id, stage="ppo", policy_version=f"policy-{made.id}"))
        store.stage_results.add(StageResult(run_id=made.id, stage="evaluate"))
        store.runs.release(made.id, claimed.fence, ends, error="" if ends == "SUCCEEDED" else "out of paper")
        return made.id

    return make


def effects(found: Sweep) -> dict[tuple[str, str], tuple[float, int, str]]:
    return {(e.after, e.measure): (e.difference.value, e.pairs, e.verdict) for e in found.effects}


def test_the_front_leaves_out_what_another_run_beats(store, run):
    best_help = run(0.1, 0, [1, 1, 1, 1], [0, 0, 0, 0])
    best_harm = run(0.2, 0, [0, 0, 0, 0], [1, 1, 1, 1])
    beaten = run(0.3, 0, [0.5, 0.5, 0.5, 0.5], [0, 0, 0, 0])
    found = sweep_of(store, "kl")
    assert {cell.run_id: cell.on_front for cell in found.cells} == {best_help: True, best_harm: True, beaten: False}
    assert found.objectives == ("gold helpful", "gold harmless")
    assert found.varied == {"ppo.kl_coef": ("0.1", "0.2", "0.3")}


def test_what_a_value_does_is_averaged_over_the_runs_that_differ_in_it_alone(store, run):
    """Helpful rises by 1 with one seed and by 1.2 with the other: 1.1 +- 12.71 x .1414 / sqrt 2, which reaches 0."""
    run(0.1, 0, [0, 1, 0, 1], [0, 0, 0, 0])
    run(0.1, 1, [0, 1, 0, 1], [0, 0, 0, 0])
    run(0.2, 0, [1, 2, 1, 2], [0, 0, 0, 0])
    run(0.2, 1, [1.2, 2.2, 1.2, 2.2], [0, 0, 0, 0])
    found = sweep_of(store, "kl")
    value, pairs, verdict = effects(found)["0.2", "gold helpful"]
    assert (value, pairs, verdict) == (pytest.approx(1.1), 2, "noise")
    assert found.effects[0].spread == pytest.approx(12.7062 * 0.1, abs=1e-5)
    assert {effect.setting for effect in found.effects} == {"ppo.kl_coef"}, "the seed is what noise is made of"


def test_a_change_that_every_seed_shows_is_shown(store, run):
    for seed, more in ((0, 0.0), (1, 0.01), (2, 0.02)):
        run(0.1, seed, [0, 1, 0, 1], [0, 0, 0, 0])
        run(0.2, seed, [1 + more, 2 + more, 1 + more, 2 + more], [0.1, -0.1, 0.1, -0.1])
    found = effects(sweep_of(store, "kl"))
    assert found["0.2", "gold helpful"] == (pytest.approx(1.01), 3, "shown")
    assert found["0.2", "gold harmless"][2] == "noise"


def test_one_pair_of_runs_says_that_it_is_one(store, run):
    run(0.1, 0, [0, 1, 0, 1], [0, 0, 0, 0])
    run(0.2, 0, [1, 2, 1, 2], [0, 0, 0, 0])
    found = sweep_of(store, "kl")
    assert effects(found)["0.2", "gold helpful"] == (1.0, 1, "shown by prompts, one pair of runs")
    assert found.seed_noise == {}


def test_pairs_of_another_seed_may_have_answered_other_prompts(store, run):
    """Three prompts rise by 1, and two others by 2: 1.4 over prompts, 1.5 over pairs of runs."""
    more = [Prompt.of(f"How do I mend tap {number}?", split="heldout") for number in range(2)]
    for seed, prompts, rise in ((0, PROMPTS[:3], 1.0), (1, more, 2.0)):
        run(0.1, seed, [0.0] * len(prompts), [0.0] * len(prompts), prompts=prompts)
        run(0.2, seed, [rise] * len(prompts), [0.0] * len(prompts), prompts=prompts)
    effect = next(e for e in sweep_of(store, "kl").effects if e.measure == "gold helpful")
    assert (effect.difference.value, effect.difference.n, effect.pairs) == (pytest.approx(1.4), 5, 2)
    assert effect.spread == pytest.approx(12.7062 * 0.5, abs=1e-4)


def test_noise_between_seeds_is_pooled_over_settings(store, run):
    """Means 0 and 2 with one value (sd sqrt 2), 5 and 5 with the other: sqrt((2 + 0) / 2) = 1."""
    for kl, seed, level in ((0.1, 0, 0.0), (0.1, 1, 2.0), (0.2, 0, 5.0), (0.2, 1, 5.0)):
        run(kl, seed, [level] * 4, [0, 0, 0, 0])
    assert sweep_of(store, "kl").seed_noise == {"gold helpful": pytest.approx(1.0), "gold harmless": 0.0}


def test_runs_that_differ_in_several_settings_at_once_have_a_rank_correlation(store, run):
    """Five runs in perfect order: of 120 orders one or its mirror is as strong, p = 2 / 120."""
    for seed, kl in enumerate((0.1, 0.2, 0.3, 0.4, 0.5)):
        run(kl, seed, [10 * kl] * 4, [0, 0, 0, 0])
    found = sweep_of(store, "kl")
    helpful, harmless = found.trends
    assert (helpful.setting, helpful.measure, helpful.correlation) == ("ppo.kl_coef", "gold helpful", pytest.approx(1))
    assert helpful.p == pytest.approx(2 / 120, abs=0.006)
    assert (harmless.correlation, harmless.p) == (0.0, 1.0)
    assert found.effects == ()


def test_a_run_without_numbers_is_named_and_the_others_are_told(store, run):
    run(0.1, 0, [0, 1, 0, 1], [0, 0, 0, 0])
    lost = run(0.2, 0, [0, 1, 0, 1], [0, 0, 0, 0], ends="FAILED")
    found = sweep_of(store, "kl")
    assert found.unfinished == {lost: "out of paper"} and len(found.cells) == 1
    assert "out of paper" in sweep_page(found)


def test_no_run_of_that_name_is_said(store):
    with pytest.raises(NotFound, match="no run belongs to a sweep 'lk'"):
        sweep_of(store, "lk")


def test_the_page_draws_the_front_and_escapes_what_people_wrote(store, run):
    run(0.1, 0, [1, 1, 1, 1], [0, 0, 0, 0])
    run(0.2, 0, [0, 0, 0, 0], [1, 1, 1, 1])
    page = sweep_page(sweep_of(store, "kl").model_copy(update={"name": "<b>kl"}))
    assert page.count("data:image/png") == 2
    assert "&lt;b&gt;kl" in page and "<b>kl" not in page
