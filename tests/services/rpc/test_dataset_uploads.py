"""Uploads that cross one another, come back late, or never end: at the desk that takes their bytes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from charter.v1 import dataset_pb2

import services.rpc.dataset_uploads as uploads
from rlhf_core.datasets.references import check_name, name_with_hash
from rlhf_core.datasets.uploads import Uploads
from rlhf_core.errors import InvalidInput, Stale, Unavailable
from rlhf_core.store.store import Store
from services.client import dataset as client
from services.client.dataset import DatasetClient

GOOD, EVIL = (b'{"prompt": "Is this %s?"}\n' % word for word in (b"good", b"evil"))


class Desk(NamedTuple):
    store: Store
    uploads: Uploads
    desk: uploads.UploadDesk

    def begin(self, data: bytes, name: str, **more: object) -> dataset_pb2.DatasetUpload:
        told = {"sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)} | more
        spec = dataset_pb2.DatasetUpload(dataset_id=name, format="DATASET_FORMAT_PROMPTS", **told)
        return self.desk.begin(dataset_pb2.UploadDatasetRequest(upload=spec))

    def take(self, spec: dataset_pb2.DatasetUpload, data: bytes, offset: int = 0) -> None:
        chunk = dataset_pb2.DatasetChunk(offset=offset, data=data)
        self.desk.take(spec, dataset_pb2.UploadDatasetRequest(chunk=chunk))


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    store = Store.open(tmp_path)
    kept = Uploads(tmp_path / "uploads")
    yield Desk(store, kept, uploads.UploadDesk(store, kept, 2**20))
    store.close()


def test_bytes_that_change_while_they_are_checked_are_not_stored_under_the_hash(desk: Desk, monkeypatch):
    mine, other = desk.begin(GOOD, "mine"), desk.begin(GOOD, "other")
    desk.take(mine, GOOD)
    checks = uploads.check_file

    def slowly(file, format_):
        rows = checks(file, format_)
        desk.take(other, EVIL)
        return rows

    monkeypatch.setattr(uploads, "check_file", slowly)
    with pytest.raises(Unavailable, match="changed while it was checked"):
        desk.desk.finish(mine, "")
    assert desk.store.datasets.by_hash(mine.sha256) is None and desk.uploads.received(mine.sha256) == 0


def test_an_upload_whose_answer_was_lost_may_be_asked_for_again_with_its_old_etag(desk: Desk):
    first = desk.begin(GOOD, "tasks")
    desk.take(first, GOOD)
    before, _ = desk.desk.finish(first, "")
    assert before is not None
    second = desk.begin(EVIL, "tasks", etag=before.etag)
    desk.take(second, EVIL)
    stored, _ = desk.desk.finish(second, "")
    again = desk.begin(EVIL, "tasks", etag=before.etag)
    assert desk.desk.finish(again, "")[0] == stored
    with pytest.raises(Stale):
        desk.begin(GOOD * 2, "tasks", etag=before.etag)


def test_who_goes_on_after_a_week_finds_what_was_sent(desk: Desk):
    spec = desk.begin(GOOD, "late")
    desk.take(spec, GOOD[:9])
    os.utime(desk.uploads.file(spec.sha256), (1, 1))
    spec = desk.begin(GOOD, "late")
    desk.take(spec, GOOD[9:], 9)
    assert desk.desk.finish(spec, "")[0] is not None


def test_a_wrong_size_does_not_drop_what_another_has_sent(desk: Desk):
    spec = desk.begin(GOOD, "mine")
    desk.take(spec, GOOD)
    with pytest.raises(InvalidInput, match="size_bytes"):
        desk.desk.finish(desk.begin(GOOD, "other", size_bytes=len(GOOD) - 1), "")
    assert desk.uploads.received(spec.sha256) == len(GOOD)


def test_a_file_that_got_shorter_ends_the_upload(tmp_path, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.05)

    class Still(DatasetClient):
        """A server that has ten bytes and never gets another."""

        def __init__(self) -> None:
            self.calls = 0

        def received(self, content_hash: str) -> int:
            return 10

        def _send(self, file, spec, here):
            self.calls += 1
            return dataset_pb2.UploadDatasetResponse(received_bytes=10)

    (tmp_path / "rows.jsonl").write_bytes(GOOD)
    still = Still()
    with pytest.raises(Unavailable, match="has the file changed"):
        still.upload(tmp_path / "rows.jsonl", "rows", "prompts")
    assert 2 <= still.calls <= 20


@pytest.mark.parametrize("name", ["tasks.jsonl", f"{'2' * 60}.jsonl", f"{'x' * 90}.jsonl", "-.jsonl", "Ä B.parquet"])
def test_a_name_made_of_a_files_is_one_that_a_dataset_may_have(name):
    made = name_with_hash(name, "0123456789")
    assert check_name(made, "name") == made and made.endswith("-01234567")
