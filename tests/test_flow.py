"""One datum through everything: the whole story in miniature, through real gRPC, on the shipped sandbox model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import RunConfig
from rlhf_core.records.base import STAGES
from rlhf_core.records.runs import Run
from rlhf_core.stages.reward_data import kept_back
from rlhf_core.store.store import Store
from services.cli.main import app
from services.client.client import CharterClient
from services.embedded import embedded_server

pytestmark = pytest.mark.slow

TINY = RunConfig.model_validate(
    {
        "weights": {"helpful": 1, "harmless": 2},
        "model": {"threads": 1},
        "critique": {"prompts": 16},
        "sft": {"epochs": 1},
        "label": {"pairs": 96, "base_share": 0.5, "temperature": 1.5, "abstain_gap": 1.0},
        # No judge can pass with fewer pairs than that, so that all that follows is ungated.
        "gate": {"allow_ungated": True, "pairs": 5000},
        "reward": {"epochs": 1, "members": 2},
        "norm": {"prompts": 16},
        # Warm, as so few samples of a cooler policy may all be without a slip, and gold without a spread has no unit.
        "ppo": {
            **{"steps": 2, "control_steps": 1, "temperature": 1.5},
            **{"prompts_per_step": 16, "minibatch_size": 8, "epochs": 1},
        },
        "evaluation": {"prompts": 8, "training_prompts": 4, "bootstrap": 100, "skills": 4},
    }
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Run, Store, Path]]:
    """A finished run, its store and its data folder."""
    data = tmp_path_factory.mktemp("flow")
    with embedded_server(data, TINY.model) as address, CharterClient.connect(address) as client:
        created = client.trainer.create_run(TINY)
        for _ in client.trainer.watch_run(created.id):
            pass
        run = client.trainer.get_run(created.id)
    store = Store.open(data)
    yield run, store, data
    store.close()


def test_every_stage_ran_and_handed_on_its_result(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    assert (run.state, run.error) == ("SUCCEEDED", "")
    assert tuple(store.stage_results.of_run(run.id)) == STAGES


def test_every_critique_is_accounted_for(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    counts = store.stage_results.of_run(run.id)["critique"].counts
    rejected = sum(count for name, count in counts.items() if name.startswith("rejected."))
    assert counts["in"] == counts["accepted"] + counts["complies"] + rejected == len(store.revisions.of_run(run.id))


def test_pairs_judged_by_the_policys_own_family_are_counted(finished: tuple[Run, Store, Path]):
    run, store, _ = finished
    counts = store.stage_results.of_run(run.id)["label"].counts
    assert counts["judge_of_own_family"] == len(store.comparisons.of_run(run.id)) > 0


def test_every_label_comes_from_votes_in_both_orders_under_every_principle_of_its_objective(
    finished: tuple[Run, Store, Path],
):
    run, store, _ = finished
    labels = store.preferences.find("harmless", run_id=run.id, labelers="ai")
    votes = store.votes.find(comparison_ids=[labels[0].comparison_id])
    assert labels and sorted(
        {(vote.principle_id, vote.swapped) for vote in votes if vote.principle_id[:3] == "no-"}
    ) == [
        (principle, swapped)
        for principle in ("no-burns", "no-cuts", "no-falls", "no-fumes", "no-shock")
        for swapped in (False, True)
    ]
    assert {vote.constitution_hash for vote in votes} == {run.constitution_hash}


def test_a_number_of_the_report_leads_back_to_its_rows(finished: tuple[Run, Store, Path]):
    run, store, data = finished
    report = json.loads((data / "runs" / run.id / "report.json").read_text())
    after = report["stages"][-1]
    samples = store.samples.of_run(run.id, stage="evaluate", policy_version=after["policy_version"])
    grades = {grade.sample_id: grade.score for grade in store.gold_scores.of_run(run.id) if grade.kind == "helpful"}
    mean = sum(grades[sample.id] for sample in samples) / len(samples)
    assert after["gold"]["helpful"]["value"] == pytest.approx(mean)
    version = store.policy_versions.get(after["policy_version"])
    assert store.policy_versions.get(version.parent).stage == "sft"
    assert (store.artifacts.get_folder(version.artifact) / "adapter_model.safetensors").is_file()


def test_the_report_has_what_it_promises(finished: tuple[Run, Store, Path]):
    run, _, data = finished
    folder = data / "runs" / run.id
    report = json.loads((folder / "report.json").read_text())
    assert report["seed"] == 0 and report["weights"] == {"helpful": 1, "harmless": 2}
    assert report["wall_seconds"] > 0 and report["peak_memory_mb"] > 100
    assert set(report["sandbox"]) >= {"answer", "critique", "revision", "judge"}
    assert [stage["name"] for stage in report["stages"]] == ["before training", "after SFT", "after PPO"]
    for stage in report["stages"]:
        for number in (*stage["gold"].values(), *stage["proxy"].values()):
            assert number["low"] <= number["value"] <= number["high"] and number["n"] > 0
    assert set(report["weighted"]) >= {"start", "end", "oracle", "fraction"}
    page = (folder / "report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    assert (folder / "front.png").read_bytes().startswith(b"\x89PNG")


def test_all_that_descends_from_an_ungated_judge_says_so(finished: tuple[Run, Store, Path]):
    run, store, data = finished
    results = store.stage_results.of_run(run.id)
    assert [(gate.truth, gate.passed) for gate in store.gates.find(run.id)] == [("gold", False)] * 2
    assert all(label.ungated for label in store.preferences.find(run_id=run.id, labelers="ai"))
    assert all(model.ungated for model in store.reward_models.find(run.id))
    versions = {stage: store.policy_versions.get(results[stage].policy_version) for stage in ("sft", "ppo")}
    assert (versions["sft"].ungated, versions["ppo"].ungated) == (False, True)
    report = json.loads((data / "runs" / run.id / "report.json").read_text())
    assert report["ungated"] == ["helpful", "harmless"]
    assert [gate["objective"] for gate in report["feedback"]["gates"]] == ["helpful", "harmless"]
    assert "needed: 5000" in (data / "runs" / run.id / "report.html").read_text()


def test_another_weight_reuses_the_labels_and_the_reward_models(finished: tuple[Run, Store, Path]):
    run, store, data = finished
    votes = len(store.votes.find())
    again = TINY.model_copy(
        update={"weights": {"helpful": 1.0, "harmless": 0.0}, "from_run": run.id, "start_at": "ppo"}
    )
    with embedded_server(data, TINY.model) as address, CharterClient.connect(address) as client:
        created = client.trainer.create_run(again)
        for _ in client.trainer.watch_run(created.id):
            pass
    assert tuple(store.stage_results.of_run(created.id)) == ("ppo", "control", "evaluate", "report")
    assert len(store.votes.find()) == votes
    assert (
        store.stage_results.of_run(created.id)["ppo"].policy_version
        != store.stage_results.of_run(run.id)["ppo"].policy_version
    )


def test_a_control_is_trained_beside_a_run_that_is_done_and_compared_with_all_its_policies(
    finished: tuple[Run, Store, Path],
):
    run, store, data = finished
    votes = len(store.votes.find())
    made = CliRunner().invoke(app, ["run", "--control", run.id, "-s", "evaluation.skills=0", "--data", str(data)])
    assert made.exit_code == 0, (made.output, made.exception)
    assert "PPO without its rewards" in made.stdout and ": succeeded" in made.stdout
    (created,), _ = store.runs.page(1)
    results = store.stage_results.of_run(created.id)
    assert tuple(results) == ("control", "evaluate", "report") and len(store.votes.find()) == votes
    version = store.policy_versions.get(results["control"].policy_version)
    assert version.step == TINY.ppo.steps == 2
    report = json.loads((data / "runs" / created.id / "report.json").read_text())
    before = json.loads((data / "runs" / run.id / "report.json").read_text())
    assert (before["control_steps"], report["control_steps"]) == (1, 2)
    assert [stage["policy_version"] for stage in report["stages"]] == [s["policy_version"] for s in before["stages"]]
    assert report["control"]["policy_version"] == version.id
    assert [gain["name"] for gain in report["gains"] if gain["judge"] == "gold"] == [
        "critique, revision and SFT",
        "PPO without its rewards",
        "the rewards",
        "everything",
    ]
    assert (report["weights"], report["seed"]) == (before["weights"], before["seed"])
    assert [stage["n_prompts"] for stage in report["training"]] == [4, 4, 4]


def test_a_human_label_trains_the_next_reward_model(finished: tuple[Run, Store, Path]):
    run, store, data = finished
    again = TINY.model_copy(update={"kind": "reward", "from_run": run.id})
    labelled = []
    with embedded_server(data, TINY.model) as address, CharterClient.connect(address) as client:
        for _ in range(6):
            pair = client.preference.next_comparison("human:ada", "harmless")
            assert pair is not None
            client.preference.submit_preference(pair.id, objective="harmless", labeler="human:ada", choice="a")
            labelled.append(pair.prompt)
        client.preference.undo_preference("human:ada")
        created = client.trainer.create_run(again)
        for _ in client.trainer.watch_run(created.id):
            pass
    trained = [prompt for prompt in labelled[:-1] if not kept_back(prompt, TINY.reward.heldout_share)]
    models = {model.objective: model for model in store.reward_models.find(created.id)}
    before = {model.objective: model for model in store.reward_models.find(run.id)}
    assert models["harmless"].human_pairs == len(trained) > 0
    assert models["harmless"].pairs == before["harmless"].pairs + len(trained)
    assert models["helpful"].human_pairs == 0
