"""What the doctor finds: on this machine, on file systems of others, in stores that are sound and that are not."""

from __future__ import annotations

import json
from contextlib import closing
from importlib import metadata
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.store.store import Store
from services.cli import doctor_checks
from services.cli.main import app


def levels(data: Path) -> dict[str, str]:
    return {check.name: check.level for check in doctor_checks.check_store(data)}


def put(store: Store, folder: Path) -> str:
    folder.mkdir()
    (folder / "weights").write_bytes(b"x" * 2**20)
    return store.artifacts.put_folder(folder)


def test_the_installed_packages_are_of_the_ranges_that_the_project_names():
    assert doctor_checks.check_wire().level == "ok"


def test_a_package_out_of_range_is_named_with_the_range(monkeypatch: pytest.MonkeyPatch):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: "5.29.0" if name == "protobuf" else real(name))
    result = doctor_checks.check_wire()
    assert result.level == "fail" and "protobuf 5.29.0" in result.detail and ">=6.31.1" in result.detail


@pytest.mark.parametrize(
    ("place", "kind"),
    [("/data/charter", "nfs4"), ("/data", "nfs4"), ("/home/ada", "ext4"), ("/database", "ext4")],
)
def test_the_file_system_is_that_of_the_longest_mount_point_above(tmp_path: Path, place: str, kind: str):
    mounts = tmp_path / "mounts"
    mounts.write_text("/dev/sda / ext4 rw 0 0\nserver:/x /data nfs4 rw 0 0\nproc /proc proc rw 0 0\n")
    assert doctor_checks.disk_kind(Path(place), mounts) == kind


def test_a_sound_store_is_counted_and_a_damaged_one_fails(tmp_path: Path):
    with closing(Store.open(tmp_path)) as store:
        store.runs.create("ppo", "{}", "k", "r")
    assert levels(tmp_path) == {"store": "ok", "artifacts": "ok"}
    assert "1 QUEUED" in next(doctor_checks.check_store(tmp_path)).detail
    (tmp_path / "charter.db-wal").unlink(missing_ok=True)
    (tmp_path / "charter.db").write_bytes(b"no database" * 1000)
    assert levels(tmp_path) == {"store": "fail"}


def test_gc_removes_what_the_doctor_finds_to_belong_to_nothing(tmp_path: Path):
    data = tmp_path / "data"
    with closing(Store.open(data)) as store:
        digest = put(store, tmp_path / "files")
        store.runs.create("ppo", "{}", "k1", "r")
    artifacts = list(doctor_checks.check_store(data))[-1]
    assert "1 of 1 have no row (1.0 MiB)" in artifacts.detail and "charter gc" in artifacts.hint

    def gc(*arguments: str) -> dict:
        result = CliRunner().invoke(app, ["gc", "--data", str(data), "--json", *arguments])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    assert gc("--dry-run") == {"removed": False, "artifacts": [digest], "bytes": 2**20, "kept": 1}
    assert gc()["artifacts"] == []
    assert gc("--idle-hours", "0") == {"removed": True, "artifacts": [digest], "bytes": 2**20, "kept": 0}


def test_gc_does_not_make_a_folder(tmp_path: Path):
    result = CliRunner().invoke(app, ["gc", "--data", str(tmp_path / "nowhere")])
    assert result.exit_code != 0 and not (tmp_path / "nowhere").exists()
