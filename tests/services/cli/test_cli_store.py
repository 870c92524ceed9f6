"""`charter store`, and other verbs on a folder whose store is in PostgreSQL."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from rlhf_core.store.databases.place import Place, place_of, use
from rlhf_core.store.store import Store
from services.cli import doctor_checks
from services.cli.main import main
from tests.store.postgres_server import Server


def charter(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A data folder with a run and an artifact."""
    with closing(Store.open(tmp_path / "here")) as store:
        store.runs.create("ppo", "{}", "k", "", "the run")
        (tmp_path / "adapter").mkdir()
        (tmp_path / "adapter" / "weights").write_text("w")
        store.artifacts.put_folder(tmp_path / "adapter")
    return tmp_path / "here"


def test_a_folder_moves_to_postgres_and_all_its_verbs_with_it(
    here: Path, postgres: Server, capsys: pytest.CaptureFixture[str]
):
    url = postgres.empty()
    assert charter("store", "copy", str(here), url) == 0
    assert "rows of" in capsys.readouterr().out
    assert charter("store", "use", url, "--data", str(here)) == 0
    (here / "charter.db").unlink()
    assert charter("runs", "--data", str(here)) == 0
    assert "the run" in capsys.readouterr().out
    assert charter("gc", "--idle-hours", "0", "--data", str(here)) == 0
    assert "1 artifacts removed" in capsys.readouterr().out
    [store, *_] = [check for check in doctor_checks.examine(here, 0) if check.name == "store"]
    assert store.level == "ok" and "postgresql:///postgres" in store.detail and "1 QUEUED" in store.detail


def test_a_folder_comes_back_from_postgres_with_its_artifacts(
    here: Path, tmp_path: Path, postgres: Server, capsys: pytest.CaptureFixture[str]
):
    there = tmp_path / "there"
    use(there, Place(database=postgres.empty(), artifacts=f"memory://cli/{tmp_path.name}"))
    assert charter("store", "copy", str(here), str(there), "--json") == 0
    assert charter("store", "copy", str(there), str(tmp_path / "back"), "--json") == 0
    first, second = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == second and first["rows"]["runs"] == 1 and first["artifacts"] == 1
    with closing(Store.open(tmp_path / "back")) as store:
        assert store.runs.page(1)[0][0].display_name == "the run"


def test_what_is_not_named_stays_where_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    use(tmp_path, Place(database="postgresql://db/old", artifacts="memory://kept"))
    assert charter("store", "use", "postgresql://ada:se#cret@db/new", "--data", str(tmp_path)) == 0
    assert place_of(tmp_path) == Place(database="postgresql://ada:se#cret@db/new", artifacts="memory://kept")
    assert charter("store", "use", "--artifacts", "memory://other", "--data", str(tmp_path)) == 0
    assert place_of(tmp_path).database == "postgresql://ada:se#cret@db/new"
    told = capsys.readouterr().out
    assert "rows in postgresql://db/new, artifacts in memory://kept" in told and "cret" not in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["copy", "nowhere", "there"], "no store in folder 'nowhere'"),
        (["copy", "here", "here"], "the same store"),
        (["copy", "here", "mysql://db/name"], "no database"),
        (["use", "mysql://db/name", "--data", "here"], "allowed: postgresql://HOST/DATABASE"),
        (["use", "--data", "nowhere"], "holds no charter.db"),
    ],
)
def test_a_wrong_place_is_told_and_no_folder_is_made(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
):
    monkeypatch.chdir(here.parent)
    assert charter("store", *arguments) == 2
    assert told in capsys.readouterr().err
    assert not (here.parent / "nowhere").exists()


def test_a_folder_whose_database_is_away_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    pytest.importorskip("psycopg_pool")
    use(tmp_path, Place(database="postgresql://ada:secret@127.0.0.1:1/charter"))
    assert charter("runs", "--data", str(tmp_path)) == 4
    error = capsys.readouterr().err
    assert "cannot use 'postgresql://127.0.0.1:1/charter'" in error and "secret" not in error
    (tmp_path / "store.json").write_text("{")
    assert charter("runs", "--data", str(tmp_path)) == 2
    assert "store.json" in capsys.readouterr().err
