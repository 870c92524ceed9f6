"""Runs from the command line, on an embedded server with a tiny model of random weights."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rlhf_core.config.run import RunConfig
from services.cli.main import app
from services.cli.run import needs_people
from tests.conftest import save_model, save_tokenizer


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny model with room for a byte-level critique."""
    folder = tmp_path_factory.mktemp("roomy")
    save_model(folder, "llama", context=1024)
    save_tokenizer(folder)
    return lambda kind: folder


@pytest.fixture
def charter(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> Callable[..., Result]:
    """Runs one command on a data folder of its own, with a tiny Llama as base model."""
    given = settings(tmp_path, tiny_folder("llama"), prompts=4)

    def run(*arguments: str, configured: bool = False) -> Result:
        return CliRunner().invoke(app, [*arguments, *(given if configured else ()), "--data", str(tmp_path / "data")])

    return run


def settings(folder: Path, model: Path, prompts: int) -> list[str]:
    """Options of a run of the first stage alone, on so many prompts."""
    file = folder / "prompts.jsonl"
    rows = [{"prompt": f"How do I wash cup {n}?"} for n in range(prompts + prompts // 8 + 2)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "model.base_model": model,
        "model.threads": 1,
        "model.max_tokens": 8,
        "model.lora.rank": 4,
        "model.feedback_tokens": 8,
        "data.prompts": file,
        "constitution": "household",
        "gate.allow_ungated": "true",
        "kind": "critique",
        "critique.prompts": prompts,
        "critique.rounds": 1,
    }
    return [part for key, value in values.items() for part in ("-s", f"{key}={value}")]


@contextmanager
def demo_at_work(folder: Path, options: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A demo in a process of its own, from the moment in which its first piece of work is stored."""
    code = "from signal import *; signal(SIGINT, default_int_handler); from services.cli.main import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, "demo", *options, "--data", str(folder / "data")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3]), "PYTHONUNBUFFERED": "1"},
    )
    with process:
        assert process.stdout is not None
        next(line for line in process.stdout if re.match(r"critique \d+/", line))
        try:
            yield process
        finally:
            process.kill()


def test_a_run_is_made_watched_listed_and_its_policy_answers(charter: Callable[..., Result]):
    made = charter("run", "--seed", "3", "--weights", "helpful=3,harmless=1", "--allow-ungated", configured=True)
    assert made.exit_code == 0, (made.output, made.exception)
    lines = made.stdout.splitlines()
    assert lines[0].endswith(": seed 3, weights helpful 3, harmless 1")
    assert any(line.startswith("critique and revise: done in") for line in lines)
    assert lines[-1].endswith(": succeeded")

    (listed,) = json.loads(charter("runs", "--json").stdout)["runs"]
    assert (listed["kind"], listed["state"]) == ("critique", "SUCCEEDED")
    assert json.loads(listed["config"])["gate"]["allow_ungated"] is True
    assert "helpful=3,harmless=1" in charter("runs").stdout

    assert charter("watch").stdout.splitlines()[-1].endswith(": succeeded")
    assert "no report yet" in str(charter("report").exception)

    answers = charter("generate", "How do I wash cup 1?", "-n", "2", "--temperature", "1", "--json")
    samples = json.loads(answers.stdout)["samples"]
    assert [sample["policy_version"] for sample in samples] == ["base", "base"]
    streamed = charter("generate", "How do I wash cup 1?", "--stream", "--policy", "base")
    assert streamed.exit_code == 0
    assert streamed.stdout == charter("generate", "How do I wash cup 1?", "--policy", "base").stdout


@pytest.mark.slow
def test_ctrl_c_ends_a_demo_for_good(
    charter: Callable[..., Result], tmp_path: Path, tiny_folder: Callable[[str], Path]
):
    with demo_at_work(tmp_path, settings(tmp_path, tiny_folder("llama"), prompts=2000)) as process:
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "cancelled; what it stored stays in" in output
    assert "Traceback" not in errors
    (run,) = json.loads(charter("runs", "--json").stdout)["runs"]
    assert run["state"] == "CANCELLED"


@pytest.mark.slow
def test_a_killed_demo_goes_on_when_the_same_command_is_given_again(
    charter: Callable[..., Result], tmp_path: Path, tiny_folder: Callable[[str], Path]
):
    options = settings(tmp_path, tiny_folder("llama"), prompts=400)
    with demo_at_work(tmp_path, options) as process:
        process.kill()
    again = charter("demo", *options)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("going on with run ")
    (run,) = json.loads(charter("runs", "--json").stdout)["runs"]
    assert (run["state"], run["attempt"]) == ("SUCCEEDED", 2)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, False),
        ({"data": {"prompts": "p.jsonl"}}, True),
        ({"data": {"prompts": "p.jsonl"}, "gate": {"allow_ungated": True}}, False),
        ({"data": {"prompts": "p.jsonl"}, "kind": "label", "from_run": "r"}, False),
        ({"data": {"prompts": "p.jsonl"}, "start_at": "ppo", "from_run": "r"}, False),
    ],
)
def test_a_run_that_will_need_peoples_labels_says_so_at_its_start(settings: dict, told: bool):
    assert needs_people(RunConfig.model_validate(settings)) == told
