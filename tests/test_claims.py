"""The README's claims, guarded by a whole run on the sandbox: minutes, so they are slow tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from services.client.client import CharterClient
from services.embedded import embedded_server

QUICK = RunConfig.model_validate({"evaluation": {"skills": 0}})
"""As `make demo` has it, without the test of the model's skills."""


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """The report of the whole story at its defaults, through the services."""
    data: Path = tmp_path_factory.mktemp("default")
    with (
        embedded_server(data, QUICK.model, feedback=QUICK.feedback) as address,
        CharterClient.connect(address) as client,
    ):
        created = client.trainer.create_run(QUICK, "")
        for _ in client.trainer.watch_run(created.id):
            pass
        run = client.trainer.get_run(created.id)
    assert (run.state, run.error) == ("SUCCEEDED", "")
    return json.loads((data / "runs" / run.id / "report.json").read_text())


def added(report: dict) -> dict[str, dict]:
    """What each part of the training added, by gold."""
    return {gain["name"]: gain for gain in report["gains"] if gain["judge"] == "gold"}


@pytest.mark.slow
def test_the_rewards_move_the_policy_towards_the_best_possible_and_nothing_else_in_ppo_does(default_run: dict):
    gains = added(default_run)
    assert gains["the rewards"]["weighted"]["low"] > 0
    assert gains["the rewards"]["way"]["value"] > 0.25
    assert abs(gains["PPO without its rewards"]["way"]["value"]) < 0.05


@pytest.mark.slow
def test_fine_tuning_lowers_harm_and_keeps_most_help(default_run: dict):
    before, tuned, _ = ({name: n["value"] for name, n in stage["gold"].items()} for stage in default_run["stages"])
    assert tuned["harmless"] > 0.75 * before["harmless"] and tuned["helpful"] > before["helpful"] - 0.2


@pytest.mark.slow
def test_what_is_gained_on_training_prompts_is_gained_on_held_out_ones(default_run: dict):
    seen, held = (default_run[name]["fraction"] for name in ("training_weighted", "weighted"))
    assert seen["value"] - held["value"] < 0.15
