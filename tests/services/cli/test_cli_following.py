"""Which run sets a control against another's PPO, and what is refused; that it works is tried with the whole flow."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.base import RunState, Stage
from rlhf_core.records.runs import Run
from rlhf_core.store.store import Store
from services.cli.following import control_of
from services.cli.main import app

GIVEN: dict[str, Any] = {
    "seed": 5,
    "constitution": "household",
    "weights": {"helpful": 1, "harmless": 2},
    "model": {"max_tokens": 24},
    "ppo": {"steps": 7, "learning_rate": 2e-3, "dial": {"weights_at": {3: {"helpful": 1, "harmless": 1}}}},
}


def run_of(name: str, state: RunState = "SUCCEEDED", stage: Stage = "report", **config: Any) -> Run:
    body = RunConfig.model_validate(GIVEN | config).model_dump_json()
    return Run(id=name, kind="pipeline", state=state, stage=stage, config=body, constitution_hash="abc")


def client_of(*runs: Run) -> Any:
    by_id = {run.id: run for run in runs}
    trainer = SimpleNamespace(get_run=by_id.__getitem__, list_runs=lambda: SimpleNamespace(runs=list(runs)))
    return SimpleNamespace(trainer=trainer)


DONE = run_of("run-1")


def test_a_control_has_as_many_steps_as_the_runs_ppo_and_all_else_alike():
    config = control_of(client_of(DONE), DONE)
    assert (config.kind, config.from_run, config.start_at) == ("pipeline", "run-1", "control")
    assert config.ppo.control_steps == config.ppo.steps == 7 and config.ppo.pays == "scores"
    assert (config.seed, config.weights) == (5, {"helpful": 1, "harmless": 2})
    assert (config.ppo.learning_rate, config.model.max_tokens) == (2e-3, 24)
    assert config.ppo.dial.weights_at == {3: {"helpful": 1, "harmless": 1}}
    assert config.constitution == "abc", "the very text that the run began with"


def test_its_steps_and_other_settings_can_be_set():
    config = control_of(client_of(DONE), DONE, ["ppo.control_steps=3", "evaluation.prompts=9", "start_at=ppo"])
    assert (config.ppo.control_steps, config.ppo.steps, config.evaluation.prompts) == (3, 7, 9)
    assert config.start_at == "control", "this is what the option is about"
    with pytest.raises(InvalidInput, match="control_steps"):
        control_of(client_of(DONE), DONE, ["ppo.control_steps=-1"])


def test_a_run_that_took_its_ppo_from_another_has_a_control_of_that_ppo():
    looked = run_of("run-2", from_run="run-1", start_at="evaluate", weights={"helpful": 3}, ppo={"steps": 45})
    config = control_of(client_of(DONE, looked), looked)
    assert (config.from_run, config.ppo.control_steps, config.weights) == ("run-2", 7, {"helpful": 3})
    assert config.ppo.learning_rate == 2e-3


@pytest.mark.parametrize(
    ("state", "stage", "done"),
    [
        ("SUCCEEDED", "report", True),
        ("FAILED", "evaluate", True),
        ("RUNNING", "control", True),
        ("RUNNING", "ppo", False),
        ("CANCELLED", "sft", False),
        ("QUEUED", "", False),
    ],
)
def test_ppo_is_done_where_a_later_stage_has_begun(state, stage, done):
    asked = run_of("run-3", state, stage)
    if done:
        assert control_of(client_of(asked), asked).from_run == "run-3"
    else:
        with pytest.raises(
            InvalidInput, match="run 'run-3' has no finished PPO to set a control against; allowed: run-1"
        ):
            control_of(client_of(asked, DONE), asked)


def test_a_run_without_ppo_is_refused_and_told_where_to_begin():
    labelled = run_of("run-4", stage="label", kind="label", from_run="run-1")
    with pytest.raises(InvalidInput, match="no run here has; start one with: charter run"):
        control_of(client_of(labelled), labelled)


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("-c", "run.yaml"), "-c does not go with --control"),
        (("--weights", "helpful=1"), "--weights does not go with --control"),
        (("--seed", "0"), "--seed does not go with --control"),
    ],
)
def test_what_the_run_decides_cannot_be_given_beside_it(tmp_path: Path, option, told):
    Store.open(tmp_path).close()
    refused = CliRunner().invoke(app, ["run", "--control", "run-1", *option, "--data", str(tmp_path)])
    assert isinstance(refused.exception, InvalidInput)
    assert str(refused.exception).startswith(told) and "allowed: -s" in str(refused.exception)


def test_an_unknown_run_is_named_before_a_model_loads(tmp_path: Path):
    missing = CliRunner().invoke(app, ["run", "--control", "run-9", "--data", str(tmp_path / "none")])
    assert isinstance(missing.exception, NotFound) and "no data folder" in str(missing.exception)
    Store.open(tmp_path).close()
    unknown = CliRunner().invoke(app, ["run", "--control", "run-9", "--data", str(tmp_path)])
    assert isinstance(unknown.exception, NotFound) and "run-9" in str(unknown.exception)


def test_help_shows_how_to_ask_for_a_control():
    text = CliRunner().invoke(app, ["run", "--help"]).stdout
    assert "charter run --control run-1f0c" in text and "without its rewards" in text
