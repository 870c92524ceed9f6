"""Runs from the command line, on an embedded server with a tiny model of random weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli import app


@pytest.fixture
def charter(tmp_path: Path, tiny_folder: Callable[[str], Path]) -> Callable[..., Result]:
    """Runs one command on a data folder of its own, with a tiny Llama as base model."""
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"How do I wash cup {n}?"}) + "\n" for n in range(20)))
    settings = {
        "model.base_model": tiny_folder("llama"),
        "model.threads": 1,
        "model.max_tokens": 8,
        "model.lora.rank": 4,
        "model.feedback_tokens": 8,
        "data.prompts": prompts,
        "constitution": "household",
        "kind": "critique",
        "critique.prompts": 4,
        "critique.rounds": 1,
    }
    given = [part for key, value in settings.items() for part in ("-s", f"{key}={value}")]

    def run(*arguments: str, configured: bool = False) -> Result:
        return CliRunner().invoke(app, [*arguments, *(given if configured else ()), "--data", str(tmp_path / "data")])

    return run


def test_a_run_is_made_watched_listed_and_its_policy_answers(charter: Callable[..., Result]):
    made = charter("run", "--seed", "3", "--weights", "helpful=3,harmless=1", configured=True)
    assert made.exit_code == 0, (made.output, made.exception)
    lines = made.stdout.splitlines()
    assert lines[0].endswith(": seed 3, weights helpful 3, harmless 1")
    assert any(line.startswith("critique and revise: done in") for line in lines)
    assert lines[-1].endswith(": succeeded")

    (listed,) = json.loads(charter("runs", "--json").stdout)["runs"]
    assert (listed["kind"], listed["state"]) == ("critique", "SUCCEEDED")
    assert "helpful=3,harmless=1" in charter("runs").stdout

    assert charter("watch").stdout.splitlines()[-1].endswith(": succeeded")
    assert "no report yet" in str(charter("report").exception)

    answers = charter("generate", "How do I wash cup 1?", "-n", "2", "--temperature", "1", "--json")
    samples = json.loads(answers.stdout)["samples"]
    assert [sample["policy_version"] for sample in samples] == ["base", "base"]
    streamed = charter("generate", "How do I wash cup 1?", "--stream", "--policy", "base")
    assert streamed.exit_code == 0
    assert streamed.stdout == charter("generate", "How do I wash cup 1?", "--policy", "base").stdout
