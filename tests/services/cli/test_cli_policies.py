"""`charter policies` on a folder: the table, promotion, the way back, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from rlhf_core.errors import Conflict, GatesNotPassed, InvalidInput, NotFound
from services.cli.main import app


@pytest.fixture
def data(tmp_path: Path, trained) -> Path:
    trained(tmp_path / "data")
    return tmp_path / "data"


def charter(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["policies", *arguments, "--data", str(data)])


def test_a_version_is_promoted_listed_and_rolled_back(data):
    assert charter(data).stdout.splitlines()[-1] == "who answers where none is named: base: nobody holds `production`"
    assert charter(data, "promote", "policy-1", "--reason", "better").stdout == "production: policy-1 (was nobody)\n"
    row, default = charter(data).stdout.splitlines()[1:]
    assert row.split()[:4] == ["policy-1", "production", "sft,", "step"]
    assert default == "who answers where none is named: policy-1 (production)"
    assert charter(data, "rollback").stdout == "production: nobody (was policy-1, rolled back)\n"
    newest, oldest = charter(data, "history").stdout.splitlines()
    assert newest.split("  ")[1].startswith("production: nobody") and oldest.endswith(": better")
    kinds = [change["kind"] for change in json.loads(charter(data, "history", "--json").stdout)["changes"]]
    assert kinds == ["rollback", "promote"]


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (["promote", "policy-9"], NotFound, "policy-9"),
        (["promote", "policy-1", "--as", "Prod"], InvalidInput, "alias: 'Prod'"),
        (["rollback"], Conflict, "nothing holds 'production'"),
        (["rollback", "candidat"], Conflict, "nothing holds 'candidat'"),
        (["history", "a b"], InvalidInput, "alias: 'a b'"),
    ],
)
def test_a_wrong_policy_alias_or_option_is_refused_in_words(data, arguments, error, told):
    failed = charter(data, *arguments)
    assert isinstance(failed.exception, error) and told in str(failed.exception)


def test_a_gate_that_failed_is_told_with_the_flags_that_override_it(data):
    from contextlib import closing

    from rlhf_core.store.store import Store

    with closing(Store.open(data)) as store:
        version = store.policy_versions.get("policy-1")
        run = store.runs.create("pipeline", "{}", "k", "")
        claimed = store.runs.claim("elsewhere:1:1", 3600)
        assert claimed is not None
        from rlhf_core.records.runs import StageResult

        ungated = version.model_copy(update={"id": "policy-2", "run_id": run.id, "ungated": True})
        store.policy_versions.add(ungated)
        store.stage_results.add(StageResult(run_id=run.id, stage="sft", policy_version="policy-2"))
        store.runs.release(run.id, claimed.fence, "SUCCEEDED")
    failed = charter(data, "promote", "policy-2")
    assert isinstance(failed.exception, GatesNotPassed) and "--allow-ungated --reason TEXT" in str(failed.exception)
    done = charter(data, "promote", "policy-2", "--allow-ungated", "--reason", "read 50 replies")
    assert "although its gates have not passed" in done.stdout


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path):
    assert isinstance(charter(tmp_path / "none").exception, NotFound)
    assert not (tmp_path / "none").exists()
