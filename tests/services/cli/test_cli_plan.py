"""`charter plan`: a description of a cluster, its mistakes by place, and the example that is shipped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from rlhf_core.errors import InvalidInput
from services.cli.main import app

EXAMPLE = Path(__file__).parents[3] / "deploy/plans/7b-64-gpus.yaml"


def planned(file: Path, *arguments: str) -> str:
    result = CliRunner().invoke(app, ["plan", "--cluster", str(file), *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """The example with few simulated steps."""
    file = tmp_path / "short.yaml"
    file.write_text(EXAMPLE.read_text().replace("simulated_steps: 1000", "simulated_steps: 2"))
    return file


def test_the_example_is_of_7b_with_4_objectives_on_64_gpus_and_says_that_it_is_a_model(short: Path):
    text = planned(short)
    assert "7B, four objectives, 64 GPUs: 64 GPUs. These are the model's outputs from the unit costs" in text
    for told in ("bottleneck: ", "busy: samplers ", "memory of a GPU: ", "traffic of a step: ", "cost of 1,000 steps"):
        assert told in text


def test_the_plan_for_scripts_is_the_same_for_the_same_seed(short: Path):
    first, again, other = (json.loads(planned(short, "--json", *more)) for more in ((), (), ("--seed", "5")))
    assert first == again != other
    assert first["gpus"] == 64 and first["bottleneck"] in ("samplers", "scorers", "learners")


def test_mistakes_are_told_with_their_place(tmp_path: Path):
    def told(edit: tuple[str, str]) -> str:
        file = tmp_path / "wrong.yaml"
        file.write_text(EXAMPLE.read_text().replace(*edit))
        with pytest.raises(InvalidInput) as caught:
            CliRunner().invoke(app, ["plan", "--cluster", str(file)], catch_exceptions=False)
        return str(caught.value)

    assert "workers.samplrs: unknown key 'samplrs', did you mean 'samplers'?" in told(("samplers: 32", "samplrs: 32"))
    assert "wrong.yaml:50:3 workers.samplers: 0 is not allowed" in told(("samplers: 32", "samplers: 0"))
    assert "'all' is not allowed; allowed: none, scoring, rollouts" in told(("overlap: none", "overlap: all"))
    assert "a GPU of 16 GB has 14.4 for it" in told(("memory: 80GB", "memory: 16GB"))
    assert "wrong.yaml:29:3: step.response_tokens is 400 and step.longest 1" in told(("longest: 1024", "longest: 100"))
    assert told(("  gpus: 8\n", "")).endswith("wrong.yaml:39:1 machine.gpus: it is missing, and has no default")
    assert told(("objectives: 4\n", "")).endswith("wrong.yaml objectives: it is missing, and has no default")


@pytest.mark.parametrize("text", ["", "# nothing\n", "null\n", "policy: {}\n", "1: 2\n"])
def test_a_file_without_what_is_needed_says_what_that_is(tmp_path: Path, text: str):
    file = tmp_path / "bare.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        CliRunner().invoke(app, ["plan", "--cluster", str(file)], catch_exceptions=False)
    assert f"{file} workers: it is missing, and has no default" in str(caught.value).splitlines()


def test_every_key_of_the_example_is_one_and_a_file_that_is_missing_is_named(tmp_path: Path):
    tree: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    assert tree["workers"] == {"samplers": 32, "scorers": 16, "learners": 16}
    with pytest.raises(InvalidInput, match="cannot read the configuration"):
        CliRunner().invoke(app, ["plan", "--cluster", str(tmp_path / "none.yaml")], catch_exceptions=False)
