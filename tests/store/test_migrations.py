from pathlib import Path

import pytest
import sqlite_utils

from rlhf_core.errors import Conflict
from rlhf_core.store.migrations import charter
from rlhf_core.store.store import Store


def test_a_store_opened_again_is_as_it_was(tmp_path: Path):
    first = Store.open(tmp_path)
    run = first.create_run("ppo", "{}", "k", "q")
    first.close()
    second = Store.open(tmp_path)
    assert second.run(run.id) == run
    second.close()


def test_all_tables_are_strict_and_every_step_is_recorded(tmp_path: Path):
    Store.open(tmp_path).close()
    db = sqlite_utils.Database(tmp_path / "charter.db")
    ours = [table for table in db.tables if not table.name.startswith(("_", "sqlite_"))]
    assert len(ours) > 10
    assert all(table.strict for table in ours)
    assert [step.name for step in charter.applied(db)] == [
        "m001_texts",
        "m002_labels",
        "m003_models",
        "m004_runs",
        "m005_protocols",
        "m006_gates",
        "m007_written",
    ]
    db.close()


def test_a_store_of_a_newer_charter_is_left_alone(tmp_path: Path):
    Store.open(tmp_path).close()
    db = sqlite_utils.Database(tmp_path / "charter.db")
    db.table("_sqlite_migrations").insert({"migration_set": "charter", "name": "m999_future", "applied_at": "later"})
    db.close()
    with pytest.raises(Conflict, match=r"newer Charter .*m999_future"):
        Store.open(tmp_path)
