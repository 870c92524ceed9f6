"""The command line as a process: help is fast, a mistake is one clear line and exit code 2."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

VERBS = ["demo", "serve", "run", "runs", "watch", "report", "generate", "label", "monitor", "constitution", "call"]
VERBS += ["doctor", "pause", "resume", "cancel"]


def charter(*arguments: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from services.cli.main import main; main(sys.argv[1:])"
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CHARTER")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(Path(__file__).parents[3])} | environ,
        check=False,
    )


def refusal(folder: Path, *arguments: str, lines: int = 1) -> str:
    """The complaint about a user's mistake, checked for its form."""
    result = charter(*arguments, folder=folder)
    assert result.returncode == 2, result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error: ")]) == lines, result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert not (folder / "charter-data").exists(), "a refused command must leave nothing behind"
    return result.stderr


def test_help_is_fast_and_loads_neither_torch_nor_grpc(tmp_path: Path):
    code = (
        "import sys\nfrom services.cli.main import main\n"
        "try: main(['--help'])\nexcept SystemExit: print({'torch', 'grpc', 'transformers', 'numpy'} & set(sys.modules))"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    assert result.stdout.endswith("set()\n")
    assert all(f"\n  {verb} " in result.stdout for verb in VERBS)
    assert seconds < 0.5, "CPU seconds, which other work on the machine hardly changes"


def test_a_refusal_loads_neither_torch_nor_a_server(tmp_path: Path):
    code = (
        "import sys\nfrom services.cli.main import main\n"
        "try: main(['run', '--weights', 'helpful=x'])\n"
        "except SystemExit: print({'torch', 'services.app', 'services.worker'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("verb", [*VERBS[:8], *VERBS[10:]])
def test_every_verb_teaches_by_example(tmp_path: Path, verb: str):
    text = charter(verb, "--help", folder=tmp_path).stdout
    assert "Examples:\n" in text
    assert f"charter {verb}" in text


def test_the_version_is_printed(tmp_path: Path):
    assert charter("--version", folder=tmp_path).stdout.startswith("charter ")


def test_unknown_verbs_and_options_are_usage_errors(tmp_path: Path):
    assert "No such command 'traim'" in refusal(tmp_path, "traim")
    assert "see `charter runs --help`" in refusal(tmp_path, "runs", "--colour")


@pytest.mark.parametrize("verb", ["run", "demo"])
def test_an_unknown_objective_is_refused_before_anything_starts(tmp_path: Path, verb: str):
    assert "unknown objective 'harmles'" in refusal(tmp_path, verb, "--weights", "harmles=1")


@pytest.mark.parametrize("dial", ["helpful=0,harmless=0", "helpful=-1", "helpful=nan", "helpful", "helpful=x"])
def test_weights_that_point_nowhere_are_refused(tmp_path: Path, dial: str):
    assert "weight" in refusal(tmp_path, "demo", "--weights", dial)


def test_a_missing_model_folder_is_refused(tmp_path: Path):
    assert "no folder './llama'" in refusal(tmp_path, "run", "-s", "model.base_model=./llama")
    (tmp_path / "empty").mkdir()
    assert "config.json" in refusal(tmp_path, "run", "-s", "model.base_model=./empty")


def test_a_broken_configuration_is_refused_with_every_place(tmp_path: Path):
    (tmp_path / "run.yaml").write_text("ppo:\n  step: 3\n  steps: none\n")
    text = refusal(tmp_path, "run", "-c", "run.yaml", lines=2)
    assert "error: run.yaml:2:3 ppo.step: unknown key 'step', did you mean 'steps'?" in text
    assert "error: run.yaml:3:3 ppo.steps: 'none'" in text


def test_a_broken_constitution_is_refused_with_every_place(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("schema: constitution/v1\nid: [\n")
    assert "mine.yaml:3:1" in refusal(tmp_path, "run", "-s", "constitution=mine.yaml")
    assert "nowhere.yaml" in refusal(tmp_path, "demo", "-s", "constitution=nowhere.yaml")


def test_an_empty_prompts_file_is_refused(tmp_path: Path):
    (tmp_path / "prompts.jsonl").write_text("\n")
    assert "prompts.jsonl" in refusal(tmp_path, "run", "-s", "data.prompts=prompts.jsonl")
    assert "missing.jsonl" in refusal(tmp_path, "run", "-s", "data.prompts=missing.jsonl")


def test_a_bad_line_7_is_named(tmp_path: Path):
    rows = ['{"prompt": "How?", "chosen": "So.", "rejected": "Not so."}'] * 10
    rows[6] = '{"prompt": "How?", "chosen": '
    (tmp_path / "pairs.jsonl").write_text("\n".join(rows) + "\n")
    data = ["-s", "data.preferences=pairs.jsonl", "-s", "data.preferences_objective=harmless"]
    assert "pairs.jsonl:7" in refusal(tmp_path, "run", *data)


def test_preferences_need_an_objective_of_the_constitution(tmp_path: Path):
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "How?", "chosen": "So.", "rejected": "Not so."}\n')
    assert "preferences_objective" in refusal(tmp_path, "run", "-s", "data.preferences=pairs.jsonl")
    wrong = ["-s", "data.preferences=pairs.jsonl", "-s", "data.preferences_objective=honest"]
    assert "unknown objective 'honest'" in refusal(tmp_path, "run", *wrong)


def test_nobody_at_the_address_is_exit_code_4(tmp_path: Path):
    result = charter("runs", "--address", f"unix:{tmp_path}/nobody.sock", folder=tmp_path)
    assert result.returncode == 4
    assert result.stderr.startswith("error: no server answers at unix:")


def test_checking_a_constitution_speaks_json(tmp_path: Path):
    good = json.loads(charter("constitution", "check", "household", "--json", folder=tmp_path).stdout)
    assert good["valid"] and good["objectives"] == ["helpful", "harmless"]
    (tmp_path / "mine.yaml").write_text("id: 3\n")
    result = charter("constitution", "check", "mine.yaml", "--json", folder=tmp_path)
    assert result.returncode == 1
    bad = json.loads(result.stdout)
    assert not bad["valid"] and all(problem["line"] >= 1 for problem in bad["problems"])


def test_showing_a_constitution_lists_principles_and_raw_text(tmp_path: Path):
    assert "objective harmless" in charter("constitution", "show", folder=tmp_path).stdout
    raw = charter("constitution", "show", "assistant", "--raw", folder=tmp_path).stdout
    (tmp_path / "copy.yaml").write_text(raw)
    assert charter("constitution", "check", "copy.yaml", folder=tmp_path).returncode == 0


def test_the_doctor_speaks_json_and_fails_where_nothing_can_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    result = charter("doctor", "--json", "--data", "file/below", folder=tmp_path)
    checks = {check["name"]: check["level"] for check in json.loads(result.stdout)["checks"]}
    machine = {"python", "sqlite", "grpc", "torch", "precision", "sandbox", "extras"}
    assert machine | {"data", "disk", "port"} == set(checks)
    assert (checks["data"], result.returncode) == ("fail", 4)
