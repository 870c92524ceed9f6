"""`charter constitution` as a process: every verb's help, output, JSON and exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rlhf_core.constitution.load import builtin_text, examine_text, load_constitution
from rlhf_core.effects.report import EffectReport
from tests.services.cli.test_cli import charter, refusal

HOUSEHOLD = builtin_text("household")


def edited(folder: Path, name: str = "mine.yaml") -> Path:
    """The household constitution with one word of one principle changed."""
    path = folder / name
    path.write_text(HOUSEHOLD.replace("Which reply has less risk of fumes?", "Which reply has less risk of cuts?"))
    return path


@pytest.mark.parametrize("verb", ["check", "show", "diff", "test", "new", "export-schema"])
def test_every_verb_teaches_by_example(tmp_path: Path, verb: str):
    text = charter("constitution", verb, "--help", folder=tmp_path).stdout
    assert "Examples:\n" in text and f"charter constitution {verb}" in text


def test_check_prints_one_line_for_each_problem_and_exits_1(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(HOUSEHOLD.replace("serves:", "server:", 2))
    result = charter("constitution", "check", "mine.yaml", folder=tmp_path)
    assert (result.returncode, result.stderr) == (1, "")
    *problems, summary = result.stdout.splitlines()
    assert problems and all(line.startswith("mine.yaml:") for line in problems)
    assert summary.startswith("mine.yaml: ") and "errors" in summary
    assert any(' C010 unknown key "server"; did you mean "serves"?' in line for line in problems)


def test_warnings_do_not_fail_a_check_unless_it_is_strict(tmp_path: Path):
    (tmp_path / "mine.yaml").write_text(HOUSEHOLD.replace("Check the reply for fumes.", "List the faults.", 1))
    lenient = charter("constitution", "check", "mine.yaml", folder=tmp_path)
    assert lenient.returncode == 0 and " W101 " in lenient.stdout and "valid" in lenient.stdout
    strict = charter("constitution", "check", "mine.yaml", "--strict", "--json", folder=tmp_path)
    told = json.loads(strict.stdout)
    assert strict.returncode == 1 and told["valid"]
    assert {(p["code"], p["severity"]) for p in told["problems"]} == {("W101", "warning")}


def test_a_file_that_cannot_be_read_is_a_misuse(tmp_path: Path):
    assert "nowhere.yaml" in refusal(tmp_path, "constitution", "check", "nowhere.yaml")
    assert "nowhere.yaml" in refusal(tmp_path, "constitution", "diff", "household", "nowhere.yaml")
    for option in ("--html", "--probes"):
        assert option in refusal(tmp_path, "constitution", "diff", "household", "household", option, "x")


def test_show_writes_the_flat_file_or_json_and_refuses_two_ways_at_once(tmp_path: Path):
    flat = charter("constitution", "show", "assistant", "--flat", folder=tmp_path).stdout
    known = load_constitution("assistant")
    found = examine_text(flat, "flat").constitution
    assert found is not None and found.hash == known.hash and "extends:" not in flat
    told = json.loads(charter("constitution", "show", "assistant", "--json", folder=tmp_path).stdout)
    assert told["hash"] == known.hash
    assert [p["hash"] for p in told["principles"]] == [p.hash for p in known.principles]
    assert "one" in refusal(tmp_path, "constitution", "show", "--json", "--raw")


def test_new_writes_a_constitution_that_is_valid_and_never_overwrites(tmp_path: Path):
    assert charter("constitution", "new", "My first.yaml", folder=tmp_path).returncode == 0
    written = (tmp_path / "My first.yaml").read_text()
    found, problems = examine_text(written, "x")
    assert found is not None and (found.id, problems) == ("my-first", ())
    assert charter("constitution", "new", "copy.yaml", "--from", "household", folder=tmp_path).returncode == 0
    copied = load_constitution(str(tmp_path / "copy.yaml"))
    assert copied.id == "copy" and copied.principles == load_constitution("household").principles
    assert "exists" in refusal(tmp_path, "constitution", "new", "copy.yaml")
    assert "cannot be written" in refusal(tmp_path, "constitution", "new", "no/such/folder.yaml")


def test_the_schema_is_json_for_editors(tmp_path: Path):
    schema = json.loads(charter("constitution", "export-schema", folder=tmp_path).stdout)
    assert schema["$schema"].endswith("2020-12/schema") and "principles" in schema["properties"]
    assert charter("constitution", "export-schema", "--out", "s.json", folder=tmp_path).returncode == 0
    assert json.loads((tmp_path / "s.json").read_text()) == schema


def test_diff_shows_words_and_the_bill_without_a_model(tmp_path: Path):
    edited(tmp_path)
    result = charter("constitution", "diff", "household", "mine.yaml", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "no-fumes.compare  Which reply has less risk of [-fumes-]{+cuts+}?" in result.stdout
    assert "retrain     harmless" in result.stdout and "unaffected  helpful" in result.stdout
    assert "not counted: no data folder" in result.stdout
    told = json.loads(charter("constitution", "diff", "household", "mine.yaml", "--json", folder=tmp_path).stdout)
    assert (told["diff"]["asked"], told["bill"]["votes"]) == (["no-fumes"], None)
    assert not (tmp_path / "charter-data").exists()


@pytest.mark.slow
def test_effects_are_measured_with_the_built_in_judge(tmp_path: Path):
    edited(tmp_path)
    ask = ["constitution", "diff", "household", "mine.yaml", "--effects", "--pairs", "6", "-s", "model.threads=1"]
    result = charter(*ask, "--html", "e.html", "--json", folder=tmp_path, OMP_NUM_THREADS="1")
    assert result.returncode == 0, result.stderr
    report = EffectReport.model_validate_json(result.stdout)
    assert (report.probes.n, report.judging.asked, report.judging.again) == (6, 96, 84)
    assert [row.principle_id for row in report.edits] == ["no-fumes"]
    page = (tmp_path / "e.html").read_text()
    assert page.startswith("<!doctype html>") and report.probes.hash in page
    assert not (tmp_path / "charter-data").exists(), "nothing is left behind"


def test_a_servers_judge_is_asked_the_tests_of_a_constitution(tmp_path: Path, served):
    ask = ["constitution", "test", "household", "--address", served.address]
    told = json.loads((result := charter(*ask, "--json", folder=tmp_path)).stdout)
    assert result.returncode == (0 if told["passed"] else 1)
    assert told["judge"] == served.client.critique.feedback("household").name
    assert {row["principle_id"] for row in told["results"]} == {p.id for p in load_constitution("household").principles}
    lines = charter(*ask, folder=tmp_path).stdout.splitlines()
    assert len(lines) == len(told["results"]) + 1 and f"judge {told['judge']}" in lines[-1]
    assert {line[:4] for line in lines[:-1]} <= {"ok  ", "FAIL"}


def test_a_constitution_without_tests_is_a_misuse_not_a_pass(tmp_path: Path):
    (tmp_path / "bare.yaml").write_text(
        "schema: constitution/v1\nid: bare\nversion: 1.0.0\ntitle: Bare\nobjectives: {good: {}}\n"
        "principles:\n  - {id: short, serves: {good: 1}, compare: Which reply is shorter?}\n"
    )
    assert "no tests" in refusal(tmp_path, "constitution", "test", "bare.yaml", "-s", "model.threads=1")
