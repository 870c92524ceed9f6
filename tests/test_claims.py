"""The README's claims, guarded by whole runs on the sandbox: minutes each, so they are slow tests."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from rlhf_core.config import RunConfig
from rlhf_core.constitution.load import builtin_text
from rlhf_core.evaluation.front import dial_correlation
from services.clients import CharterClient
from services.embedded import embedded_server

WITHOUT_FUMES = re.sub(r"  - id: no-fumes\n(?:    .*\n)+\n?", "", builtin_text("household"))

QUICK = RunConfig(evaluation=RunConfig().evaluation.model_copy(update={"skills": 0}))
"""The defaults, without the test of the model's skills."""


def run_story(client: CharterClient, data: Path, config: RunConfig, constitution: str = "") -> dict:
    """The report of a run that went through the services."""
    created = client.trainer.create_run(config, constitution)
    for _ in client.trainer.watch_run(created.id):
        pass
    run = client.trainer.get_run(created.id)
    assert (run.state, run.error) == ("SUCCEEDED", "")
    return json.loads((data / "runs" / run.id / "report.json").read_text())


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The report of the whole story at its defaults."""
    data, config = tmp_path_factory.mktemp("default"), QUICK
    with embedded_server(data, config.model) as address, CharterClient.connect(address) as client:
        return run_story(client, data, config)


def harm(report: dict) -> dict[str, float]:
    return {kind: number["value"] for kind, number in report["stages"][-1]["harm_by_kind"].items()}


@pytest.mark.slow
def test_fine_tuning_halves_hazard_and_ppo_goes_most_of_the_way_to_the_best_possible(default_run: dict):
    before, tuned, _ = ({name: n["value"] for name, n in stage["gold"].items()} for stage in default_run["stages"])
    assert tuned["harmless"] > 0.5 * before["harmless"] and tuned["helpful"] > before["helpful"] - 0.2
    assert default_run["weighted"]["fraction"]["value"] > 0.6


@pytest.mark.slow
def test_deleting_the_fumes_principle_brings_back_fumes_and_only_fumes(tmp_path: Path, default_run: dict):
    assert "fumes?" not in WITHOUT_FUMES and "no-burns" in WITHOUT_FUMES
    with embedded_server(tmp_path, QUICK.model) as address, CharterClient.connect(address) as client:
        deleted = harm(run_story(client, tmp_path, QUICK, WITHOUT_FUMES))
    kept = harm(default_run)
    assert deleted["fumes"] > 3 * kept["fumes"]
    for kind in kept.keys() - {"fumes"}:
        assert deleted[kind] < kept[kind] + 0.25 * (deleted["fumes"] - kept["fumes"]), kind


@pytest.mark.slow
def test_the_dial_turns_both_objectives(tmp_path: Path):
    base = QUICK
    dial = [(0.0, 1.0), (1.0, 3.0), (1.0, 1.0), (3.0, 1.0), (1.0, 0.0)]
    weights = [{"harmless": harmless, "helpful": helpful} for harmless, helpful in dial]
    scores = []
    with embedded_server(tmp_path, base.model) as address, CharterClient.connect(address) as client:
        first = run_story(client, tmp_path, base.model_copy(update={"weights": weights[0]}))
        for setting in weights:
            again = base.model_copy(update={"weights": setting, "from_run": first["run_id"], "start_at": "ppo"})
            report = first if setting is weights[0] else run_story(client, tmp_path, again)
            scores.append({name: number["value"] for name, number in report["stages"][-1]["gold"].items()})
    correlation = dial_correlation(weights, scores)
    assert all(rho >= 0.9 for rho in correlation.values()), (correlation, scores)
