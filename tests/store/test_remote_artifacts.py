"""Artifacts in object stores: in memory, and in a server in this process that speaks S3."""

from __future__ import annotations

import importlib.util
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rlhf_core.errors import InvalidInput, NotFound, Unavailable
from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.artifacts.folders import Artifacts
from rlhf_core.store.artifacts.object_store import RemoteArtifacts, artifacts_at
from rlhf_core.store.databases.place import Place
from rlhf_core.store.store import Store

NEEDED = ("moto", "flask", "flask_cors", "s3fs")


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The URL of a bucket."""
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "testing")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        boto3.client("s3").create_bucket(Bucket="charter")
        yield "s3://charter"
    server.stop()


@pytest.fixture(params=["memory", "s3"])
def url(request: pytest.FixtureRequest) -> str:
    """A place of its own in an object store."""
    place = request.getfixturevalue("s3") if request.param == "s3" else "memory://charter"
    return f"{place}/{uuid.uuid4().hex}"


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    folder = tmp_path / "adapter"
    (folder / "heads").mkdir(parents=True)
    (folder / "weights.bin").write_bytes(b"abc")
    (folder / "heads" / "0.bin").write_bytes(b"")
    return folder


def object_of(artifacts: object, digest: str) -> str:
    assert isinstance(artifacts, RemoteArtifacts)
    return artifacts._object(digest)


def files_of(artifacts: object) -> Any:
    assert isinstance(artifacts, RemoteArtifacts)
    return artifacts._files


def test_what_one_host_puts_another_gets_under_the_digest_that_a_folder_would_give(
    url: str, tmp_path: Path, adapter: Path
):
    digest = artifacts_at(url, tmp_path / "here").put_folder(adapter)
    assert digest == Artifacts(tmp_path / "folder").put_folder(adapter)
    found = artifacts_at(url, tmp_path / "there").get_folder(digest)
    assert found.is_relative_to(tmp_path / "there")
    assert (found / "weights.bin").read_bytes() == b"abc" and (found / "heads/0.bin").read_bytes() == b""
    assert set(artifacts_at(url, tmp_path / "elsewhere").stored()) == {digest}


def test_what_is_not_there_is_not_found_and_an_empty_place_holds_nothing(url: str, tmp_path: Path):
    artifacts = artifacts_at(url, tmp_path)
    assert artifacts.stored() == {}
    for digest in ("0" * 64, "../../etc"):
        with pytest.raises(NotFound, match="no artifact"):
            artifacts.get_folder(digest)
    assert artifacts.remove("0" * 64, 0) is False


def test_a_damaged_object_is_named_and_a_damaged_copy_is_fetched_anew(url: str, tmp_path: Path, adapter: Path):
    digest = artifacts_at(url, tmp_path / "here").put_folder(adapter)
    (Artifacts(tmp_path / "here").get_folder(digest) / "weights.bin").write_bytes(b"abd")
    again = artifacts_at(url, tmp_path / "here")
    assert (again.get_folder(digest) / "weights.bin").read_bytes() == b"abc"
    for damage in (b"no archive", b""):
        files_of(again).pipe_file(object_of(again, digest), damage)
        with pytest.raises(Unavailable, match="damaged"):
            artifacts_at(url, tmp_path / "there").get_folder(digest)
    again.put_folder(adapter)
    assert artifacts_at(url, tmp_path / "there").get_folder(digest).is_dir()


def test_only_what_lay_idle_is_removed_and_it_can_be_put_again(url: str, tmp_path: Path, adapter: Path):
    artifacts = artifacts_at(url, tmp_path / "here")
    digest = artifacts.put_folder(adapter)
    assert artifacts.remove(digest, idle_seconds=3600) is False
    assert artifacts.remove(digest, idle_seconds=0) is True
    assert artifacts.stored() == {}
    with pytest.raises(NotFound):
        artifacts.get_folder(digest)
    assert artifacts.put_folder(adapter) == digest
    assert set(artifacts.stored()) == {digest}


def test_an_artifact_that_is_put_while_others_remove_it_is_there_in_the_end(tmp_path: Path, adapter: Path):
    url = f"memory://charter/{uuid.uuid4().hex}"
    artifacts, remover = artifacts_at(url, tmp_path / "here"), artifacts_at(url, tmp_path / "there")
    over, removed, files = threading.Event(), 0, files_of(artifacts)

    def collect() -> None:
        nonlocal removed
        while not over.wait(0.002):
            for digest in remover.stored():
                removed += remover.remove(digest, idle_seconds=60)

    collector = threading.Thread(target=collect)
    collector.start()
    try:
        for _ in range(40):
            digest = artifacts.put_folder(adapter)
            files.store[object_of(artifacts, digest)].modified -= timedelta(hours=2)
            time.sleep(0.001)
        kept = artifacts.put_folder(adapter)
    finally:
        over.set()
        collector.join()
    assert removed > 0
    assert artifacts_at(url, tmp_path / "third").get_folder(kept).is_dir()


def test_a_store_of_remote_artifacts_is_opened_by_its_folder_alone(url: str, tmp_path: Path, adapter: Path):
    store = Store.open(tmp_path / "data", Place(artifacts=url))
    kept, orphan = store.artifacts.put_folder(adapter), store.artifacts.put_folder(adapter / "heads")
    run = store.runs.create("ppo", "{}", "k", "")
    version = PolicyVersion(id="p", run_id=run.id, stage="sft", parent="base", base_model="m", artifact=kept)
    store.policy_versions.add(version)
    store.close()
    store = Store.open(tmp_path / "data")
    assert store.garbage.collect(idle_seconds=0).digests == (orphan,)
    assert set(store.artifacts.stored()) == {kept} and store.artifacts.get_folder(kept).is_dir()
    store.close()


def test_a_place_that_nobody_knows_or_that_does_not_answer_is_named(tmp_path: Path, adapter: Path):
    with pytest.raises(InvalidInput, match="allowed: a URL that fsspec knows"):
        artifacts_at("nowhere://bucket", tmp_path)


@pytest.mark.parametrize("url", ["s3:/bucket/x", "shared/x", "s3://", "file://shared", "://x", "/shared"])
def test_artifacts_without_a_scheme_or_a_bucket_are_no_folder_of_whoever_asks_first(tmp_path: Path, url: str):
    with pytest.raises(InvalidInput, match="is no URL; allowed: a URL with a bucket, such as s3://BUCKET/PATH"):
        Store.open(tmp_path / "data", Place(artifacts=url))
    assert not (tmp_path / "data").exists()


def test_a_bucket_that_is_not_there_is_named(s3: str, tmp_path: Path, adapter: Path):
    missing = artifacts_at(f"{s3}-missing/x", tmp_path)
    with pytest.raises(Unavailable, match="charter-missing"):
        missing.put_folder(adapter)


def test_a_file_url_is_a_folder(tmp_path: Path, adapter: Path):
    digest = artifacts_at(f"file://{tmp_path}/shared", tmp_path / "unused").put_folder(adapter)
    assert Artifacts(tmp_path / "shared").get_folder(digest).is_dir()
    assert not (tmp_path / "unused").exists()
