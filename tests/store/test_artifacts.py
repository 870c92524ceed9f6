import contextlib
import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput, NotFound, Unavailable
from rlhf_core.store.artifacts.folders import Artifacts
from rlhf_core.store.store import Store
from rlhf_core.store.workers import this_process


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "heads").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"abc")
    (folder / "heads" / "0.bin").write_bytes(b"")
    return folder


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_digest_is_that_of_the_sorted_names_and_bytes(tmp_path: Path, adapter: Path):
    empty, abc = hashlib.sha256(b"").hexdigest(), hashlib.sha256(b"abc").hexdigest()
    expected = hashlib.sha256(f"heads/0.bin\0{empty}\nweights.bin\0{abc}\n".encode()).hexdigest()
    artifacts = Artifacts(tmp_path / "artifacts")
    assert artifacts.put_folder(adapter) == expected
    folder = artifacts.get_folder(expected)
    assert folder == tmp_path / "artifacts" / "sha256" / expected[:2] / expected
    assert files(folder) == ["heads/0.bin", "weights.bin"]
    assert (folder / "weights.bin").read_bytes() == b"abc"


def test_equal_folders_are_stored_once_and_nothing_else_remains(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "artifacts")
    digest = artifacts.put_folder(adapter)
    (adapter / "nothing").mkdir()
    assert artifacts.put_folder(adapter) == digest
    (adapter / "weights.bin").rename(adapter / "renamed.bin")
    assert artifacts.put_folder(adapter) != digest
    assert len(list((tmp_path / "artifacts" / "sha256").glob("*/*"))) == 2
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []


def test_many_threads_may_store_the_same_folder(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "artifacts")
    with ThreadPoolExecutor(8) as pool:
        digests = set(pool.map(lambda _: artifacts.put_folder(adapter), range(24)))
    assert len(digests) == 1
    assert files(artifacts.get_folder(digests.pop())) == ["heads/0.bin", "weights.bin"]


@pytest.mark.parametrize("digest", ["", "0" * 64, "../../etc", "/etc/passwd", "A" * 64])
def test_what_is_not_there_is_not_found(tmp_path: Path, digest: str):
    with pytest.raises(NotFound, match="no artifact"):
        Artifacts(tmp_path).get_folder(digest)


def test_a_changed_file_is_noticed_by_a_new_process_and_mended_by_storing_again(tmp_path: Path, adapter: Path):
    digest = Artifacts(tmp_path / "artifacts").put_folder(adapter)
    changed = Artifacts(tmp_path / "artifacts").get_folder(digest) / "weights.bin"
    changed.write_bytes(b"abd")
    with pytest.raises(Unavailable, match="damaged"):
        Artifacts(tmp_path / "artifacts").get_folder(digest)
    assert Artifacts(tmp_path / "artifacts").put_folder(adapter) == digest
    assert (Artifacts(tmp_path / "artifacts").get_folder(digest) / "weights.bin").read_bytes() == b"abc"
    assert list((tmp_path / "artifacts" / "tmp").iterdir()) == []


def test_links_devices_files_and_empty_folders_are_refused(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "artifacts")
    (tmp_path / "empty").mkdir()
    for wrong in (tmp_path / "empty", tmp_path / "missing", adapter / "weights.bin"):
        with pytest.raises(InvalidInput):
            artifacts.put_folder(wrong)
    os.mkfifo(adapter / "pipe")
    with pytest.raises(InvalidInput, match="pipe"):
        artifacts.put_folder(adapter)
    (adapter / "pipe").unlink()
    (adapter / "link").symlink_to("/etc/passwd")
    with pytest.raises(InvalidInput, match="link"):
        artifacts.put_folder(adapter)


def test_what_a_killed_process_left_half_written_is_swept_and_a_living_one_s_is_not(tmp_path: Path):
    Artifacts(tmp_path)
    child = subprocess.Popen(["sleep", "60"])
    dead = tmp_path / "tmp" / f"{this_process().split(':')[0]}:{child.pid}:1:abc"
    alive = tmp_path / "tmp" / f"{this_process()}:abc"
    child.kill()
    child.wait()
    for folder in (dead, alive):
        folder.mkdir()
    Artifacts(tmp_path)
    assert not dead.exists() and alive.exists()


def test_a_full_disk_is_named_and_leaves_nothing_behind(small_disk: Path, adapter: Path):
    artifacts = Artifacts(small_disk / "artifacts")
    kept = artifacts.put_folder(adapter)
    (adapter / "large.bin").write_bytes(os.urandom(3 * 2**20))
    with pytest.raises(Unavailable, match=r"no space left .* nothing was written"):
        artifacts.put_folder(adapter)
    assert list((small_disk / "artifacts" / "tmp").iterdir()) == []
    assert [path.name for path in (small_disk / "artifacts" / "sha256").glob("*/*")] == [kept]


def test_a_store_cannot_be_made_on_a_full_disk(small_disk: Path):
    fill(small_disk)
    with pytest.raises(Unavailable, match=r"no space left|No space left"):
        Store.open(small_disk / "store")


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)
    return filler


def test_rows_on_a_full_disk_are_refused_whole_and_the_store_goes_on_when_there_is_room(small_disk: Path):
    store = Store.open(small_disk / "store")
    run = store.runs.create("ppo", "{}", "k", "q")
    filler = fill(small_disk)
    with pytest.raises(Unavailable, match=r"no space left .* nothing was written"), store.transaction():
        store.events.append(run.id, "note", "{}")
        store.events.append(run.id, "note", '"' + "x" * 2**20 + '"')
    assert len(store.events.of_run(run.id)) == 1
    filler.unlink()
    assert store.events.append(run.id, "note", "{}").sequence == 2
    assert store.integrity_check() == []
    store.close()


def test_only_what_lay_idle_is_removed_and_it_can_be_put_again(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "store")
    digest = artifacts.put_folder(adapter)
    assert artifacts.stored() == {digest: 3}
    assert artifacts.remove(digest, idle_seconds=3600) is False
    assert (artifacts.get_folder(digest) / "weights.bin").read_bytes() == b"abc"
    assert artifacts.remove(digest, idle_seconds=0) is True
    assert artifacts.stored() == {} and list((tmp_path / "store/tmp").iterdir()) == []
    with pytest.raises(NotFound):
        artifacts.get_folder(digest)
    assert artifacts.remove(digest, idle_seconds=0) is False
    assert artifacts.put_folder(adapter) == digest


def test_putting_the_same_files_again_counts_as_use(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "store")
    digest = artifacts.put_folder(adapter)
    long_ago = time.time() - 7200
    os.utime(artifacts.get_folder(digest), (long_ago, long_ago))
    artifacts.put_folder(adapter)
    assert artifacts.remove(digest, idle_seconds=3600) is False


def test_an_artifact_that_is_put_while_others_remove_it_is_there_in_the_end(tmp_path: Path, adapter: Path):
    artifacts = Artifacts(tmp_path / "store")
    over = threading.Event()

    def collect() -> None:
        while not over.is_set():
            for digest in artifacts.stored():
                artifacts.remove(digest, idle_seconds=60)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(100):
            digest = artifacts.put_folder(adapter)
            long_ago = time.time() - 7200
            with contextlib.suppress(FileNotFoundError):
                os.utime(tmp_path / "store/sha256" / digest[:2] / digest, (long_ago, long_ago))
        kept = artifacts.put_folder(adapter)
    finally:
        over.set()
        collector.join()
    assert (artifacts.get_folder(kept) / "weights.bin").read_bytes() == b"abc"
