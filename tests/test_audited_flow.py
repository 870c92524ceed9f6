"""A run that distrusts its reward models: auditors, best-of-n, watched steps and weights that change on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.client.client import CharterClient
from services.embedded import embedded_server

AUDITED = RunConfig.model_validate(
    {
        "weights": {"helpful": 1, "harmless": 1},
        "model": {"threads": 1},
        "critique": {"prompts": 12, "rounds": 1},
        "sft": {"epochs": 1},
        "label": {"pairs": 48, "base_share": 0.5, "temperature": 1.5, "abstain_gap": 1.0, "principles_per_label": 1},
        "gate": {"allow_ungated": True, "pairs": 5000},
        "reward": {"epochs": 1, "members": 1, "auditor_share": 0.5},
        "norm": {"prompts": 8, "best_of": 4, "best_of_prompts": 6},
        "ppo": {
            **{
                "steps": 3,
                "control_steps": 1,
                "prompts_per_step": 8,
                "minibatch_size": 8,
                "epochs": 1,
                "eval_every": 1,
            },
            "dial": {"combine": "log_sigmoid", "weights_at": {3: {"helpful": 1, "harmless": 4}}},
            "stop": {"parted": "stop", "max_kl": 50},
        },
        "evaluation": {"prompts": 4, "training_prompts": 4, "bootstrap": 100, "skills": 0},
    }
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Store, Path]]:
    """A finished run that was given other weights while it waited, its store and its data folder."""
    data = tmp_path_factory.mktemp("audited")
    with embedded_server(data, AUDITED.model) as address, CharterClient.connect(address) as client:
        created = client.trainer.create_run(AUDITED)
        for event in client.trainer.watch_run(created.id):
            if event.kind == "metrics" and (step := json.loads(event.body))["stage"] == "ppo" and step["step"] == 1:
                client.trainer.set_weights(created.id, {"harmless": 2})
        run = client.trainer.get_run(created.id)
    store = Store.open(data)
    yield run, store, data
    store.close()


@pytest.mark.slow
def test_each_objective_has_an_auditor_with_a_scale_of_its_own(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    assert (run.state, run.error) == ("SUCCEEDED", "")
    results = store.stage_results.of_run(run.id)
    rewarded, packed = results["reward"], results["norm_pack"]
    models = {model.id: model for model in store.reward_models.find(run.id)}
    assert [models[i].auditor for i in rewarded.reward_models.values()] == [False, False]
    assert [models[i].auditor for i in rewarded.auditors.values()] == [True, True]
    assert store.norm_packs.get(packed.norm_pack).reward_models == tuple(rewarded.reward_models.values())
    assert store.norm_packs.get(packed.auditor_pack).reward_models == tuple(rewarded.auditors.values())
    ppo_scores = {
        score.reward_model for score in store.scores.of_run(run.id) if score.sample_id in _ppo_ids(store, run)
    }
    assert ppo_scores == set(rewarded.reward_models.values()), "PPO never asks an auditor"


def _ppo_ids(store: Store, run: Run) -> set[str]:
    return {sample.id for sample in store.samples.of_run(run.id, stage="ppo")}


@pytest.mark.slow
def test_every_watched_step_is_stored_by_prompt_and_begins_with_the_reference(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    points = store.watch_points.of_run(run.id)
    assert [(p.step, p.objective) for p in points[:2]] == [(0, "helpful"), (0, "harmless")]
    assert all(len(p.proxy) == len(p.auditor) == len(p.gold) == 48 for p in points)
    assert points[0].kl == pytest.approx(0, abs=1e-6)
    # A step whose responses to a prompt are all the same moves nothing; the estimate of a small move may be negative.
    assert abs(points[-1].kl) > 1e-6


@pytest.mark.slow
def test_weights_given_while_it_ran_are_taken_up_recorded_and_outlast_the_schedule(
    finished: tuple[Run, Store, Path],
):
    run, store, _ = finished
    (change,) = store.weights.of_run(run.id)
    assert change.weights == {"helpful": 0, "harmless": 2} and change.from_step in (2, 3)
    steps = [json.loads(event.body) for event in store.events.of_run(run.id) if event.kind == "metrics"]
    used = [row["values"]["weight.harmless"] for row in steps if row["stage"] == "ppo"]
    assert used[0] == 1 and used[change.from_step - 1 :] == [2] * len(used[change.from_step - 1 :])
    notes = [json.loads(event.body)["text"] for event in store.events.of_run(run.id) if event.kind == "note"]
    assert f"PPO step {change.from_step} takes up new weights: helpful 0, harmless 2" in notes
    assert sum("the best of 4 by its reward model gains" in note and "by its auditor" in note for note in notes) == 2


@pytest.mark.slow
def test_the_report_shows_gaps_and_best_of_n(finished: tuple[Run, Store, Path]):
    run, _, data = finished
    folder = data / "runs" / run.id
    report = json.loads((folder / "report.json").read_text())
    assert [row["objective"] for row in report["goodhart"]] == ["helpful", "harmless"]
    # Of helpful the reference policy's few samples may all be faultless, and without a spread gold has no unit.
    last = report["goodhart"][1]["points"][-1]
    gap = last["proxy"]["value"] - last["auditor"]["value"]
    assert last["gap"]["value"] == pytest.approx(gap) and last["gold"] is not None
    assert [row["n"] for row in report["best_of"]] == [[1, 2, 4]] * 2
    assert set(report["best_of"][1]["gains"]) == {"proxy", "auditor", "gold"}
    assert "helpful 0, harmless 2" in report["provenance"].values()
    assert (folder / "goodhart.png").stat().st_size > 10_000 and (folder / "best_of_n.png").stat().st_size > 10_000
