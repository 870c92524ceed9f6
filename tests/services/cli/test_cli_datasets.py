"""`charter datasets`, and files that travel to a server, as a person would type them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rlhf_core.datasets.references import name_for
from rlhf_core.errors import Conflict, InvalidInput, NotFound
from services.cli.main import app
from tests.services.run_server import run_server

PROMPTS = '{"prompt": "How do I dust?"}\n{"prompt": "How do I sweep?"}\n'
PAIRS = '{"prompt": "Tea?", "chosen": "Yes.", "rejected": "No."}\n'


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.jsonl").write_text(PROMPTS)
    (tmp_path / "My Pairs (1).jsonl").write_text(PAIRS)
    return tmp_path


def charter(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], catch_exceptions=False)


def fails(kind: type[Exception], told: str, *words: str) -> None:
    result = CliRunner().invoke(app, [*words])
    assert isinstance(result.exception, kind) and told in str(result.exception), result.exception


def test_a_folder_takes_shows_exports_and_deletes_datasets(here):
    told = charter("datasets", "upload", "prompts.jsonl", "--description", "of the house").stdout
    assert "prompts.jsonl is dataset prompts: 2 rows, hash " in told and "dataset:prompts" in told
    assert "dataset my-pairs-1: 1 row" in charter("datasets", "upload", "My Pairs (1).jsonl").stdout
    listed = charter("datasets").stdout
    assert listed.index("my-pairs-1") < listed.index("prompts") and "preferences" in listed
    shown = charter("datasets", "show", "prompts", "-n", "1").stdout
    assert "2 rows of prompts" in shown and "of the house" in shown and "How do I dust?" in shown
    assert "sweep" not in shown and "none were given it" in shown
    assert "bytes" in charter("datasets", "export", "prompts", "out.jsonl").stdout
    assert (here / "out.jsonl").read_text() == PROMPTS
    fails(InvalidInput, "--force", "datasets", "export", "prompts", "out.jsonl")
    assert "would take 1 version" in charter("datasets", "delete", "prompts", "--dry-run").stdout
    fails(InvalidInput, "--yes", "datasets", "delete", "prompts")
    assert "took 1 version" in charter("datasets", "delete", "prompts", "--yes").stdout
    fails(NotFound, 'no dataset "prompts"', "datasets", "show", "prompts")
    assert [found["id"] for found in json.loads(charter("datasets", "--json").stdout)["datasets"]] == ["my-pairs-1"]


def test_versions_are_listed_and_told_apart():
    charter("datasets", "upload", "prompts.jsonl")
    first = json.loads(charter("datasets", "show", "prompts", "--json").stdout)
    Path("more.jsonl").write_text(PROMPTS * 2)
    assert "would be dataset" in charter("datasets", "upload", "more.jsonl", "--name", "prompts", "--dry-run").stdout
    charter("datasets", "upload", "more.jsonl", "--name", "prompts")
    versions = charter("datasets", "show", "prompts", "--versions").stdout
    assert first["hash"][:12] in versions and len(versions.strip().splitlines()) == 3
    assert "2 rows" in charter("datasets", "show", f"prompts@{first['hash'][:8]}").stdout


def test_a_dry_run_makes_no_folder_and_says_what_an_upload_would(here):
    said = charter("datasets", "upload", "prompts.jsonl", "--dry-run", "--json").stdout
    fails(InvalidInput, "a letter first", "datasets", "upload", "prompts.jsonl", "--dry-run", "--name", "Mine!")
    assert not (here / "charter-data").exists()
    stored = json.loads(charter("datasets", "upload", "prompts.jsonl", "--json").stdout)
    looked_at = json.loads(said)
    assert not looked_at.pop("stored") and stored.pop("stored")
    assert looked_at.pop("created_at") == "" != stored.pop("created_at") and looked_at == stored


@pytest.mark.parametrize(
    ("kind", "told", "words"),
    [
        (InvalidInput, "there is no such file", ("upload", "none.jsonl")),
        (InvalidInput, "bad.jsonl:1: 'prompt' is a number", ("upload", "bad.jsonl")),
        (InvalidInput, 'did you mean "prompts"', ("upload", "prompts.jsonl", "--format", "prompt")),
        (InvalidInput, "prompts.jsonl:1: ", ("upload", "prompts.jsonl", "--format", "ratings")),
        (InvalidInput, "no key of this row says", ("upload", "odd.jsonl")),
        (InvalidInput, "a letter first", ("upload", "prompts.jsonl", "--name", "Mine!")),
        (NotFound, "no data folder", ("show", "prompts")),
        (NotFound, "no data folder", ("delete", "prompts", "--yes")),
        (InvalidInput, "allowed: jsonl, parquet", ("export", "prompts", "x", "--as", "csv")),
        (InvalidInput, 'did you mean "prompts"', ("--format", "promps")),
    ],
)
def test_a_wrong_word_is_told_in_one_line_and_leaves_nothing(here, kind, told, words):
    (here / "bad.jsonl").write_text('{"prompt": 3}\n')
    (here / "odd.jsonl").write_text('{"question": "?"}\n')
    fails(kind, told, "datasets", *words)
    assert not list(here.glob("charter-data/artifacts/sha256/*")) and not (here / "x").exists()


def test_what_is_local_travels_to_a_server_and_keeps_its_own_name(here):
    with run_server(here / "data") as server:
        address = server.client.address
        words = ("run", "--address", address, "--detach", "-s", "data.prompts=prompts.jsonl")
        pairs = ("-s", "data.preferences=My Pairs (1).jsonl", "-s", "data.preferences_objective=helpful")
        labels = ("-s", "data.labels.harmless=My Pairs (1).jsonl")
        result = charter(*words, *pairs)
        run = server.client.trainer.get_run(result.stdout.strip().splitlines()[-1])
        data = json.loads(run.config)["data"]
        found = {dataset.id: dataset for dataset in server.client.datasets.list().datasets}
        assert len(found) == 2 and all(dataset.reference in data.values() for dataset in found.values())
        assert data["prompts"].startswith("dataset:prompts-") and data["preferences"].startswith("dataset:my-pairs-1-")
        charter(*words)
        assert len(server.client.datasets.list().datasets) == 2
        again = charter(*words, *labels)
        assert "prompts.jsonl is dataset prompts-" in again.stderr
        (here / "prompts.jsonl").write_text('{"prompt": 3}\n')
        fails(InvalidInput, "prompts.jsonl:1: 'prompt' is a number", *words)
        fails(InvalidInput, "there is no such file", *words[:-1], "data.prompts=absent.jsonl")
        assert len(server.client.trainer.list_runs().runs) == 3
        fails(
            Conflict, "what runs were given", "datasets", "delete", data["prompts"][8:24], "--yes", "--address", address
        )


@pytest.mark.parametrize(
    ("file", "name"),
    [("My Pairs (1).jsonl", "my-pairs-1"), ("2024.jsonl", "data-2024"), ("Été.jsonl", "t"), ("_.jsonl", "data-_")],
)
def test_a_files_name_becomes_one_that_a_dataset_may_have(file, name):
    assert name_for(file) == name
