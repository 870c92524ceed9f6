"""Datasets over a real socket: uploads that resume, rows read back, versions, and what is refused."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pyarrow
import pyarrow.parquet
import pytest
from charter.v1 import dataset_pb2, dataset_pb2_grpc
from google.protobuf.field_mask_pb2 import FieldMask

from rlhf_core.constitution.load import builtin_text
from rlhf_core.errors import Conflict, InvalidInput, NotFound, RequestReused, Stale, Unavailable
from services.client import dataset
from services.client.client import CharterClient
from services.client.dataset import sha256_of
from services.server.config import WITHOUT_MODEL, ServeConfig
from services.server.limits import Limits
from tests.services.apps import serving
from tests.services.run_server import RunServer, run_server

PROMPTS = b'{"prompt": "How do I dust?"}\n\n{"prompt": "Und fegen?", "tags": ["lang:de"]}\n'
PAIRS = b'{"prompt": "Tea?", "chosen": "Yes, with milk.", "rejected": "No."}\n'
OF_EACH_FORMAT = {
    "prompts": PROMPTS,
    "demonstrations": b'{"prompt": "Tea?", "completion": "Yes."}\n',
    "preferences": PAIRS,
    "ratings": b'{"prompt": "Tea?", "response": "Yes.", "rating": 4}\n',
    "rankings": b'{"prompt": "Tea?", "responses": ["Yes.", "No."], "ranks": [1, 2]}\n',
    "steps": b'{"prompt": "Tea?", "completions": ["Boil.", "Pour."], "labels": [true, false]}\n',
    "labels": PAIRS + b'{"prompt": "Tea?", "response": "Yes.", "rating": 4}\n',
    "constitution": builtin_text("household").encode(),
}


class Door:
    """DatasetService of a server, by its messages."""

    def __init__(self, server: RunServer, folder: Path):
        self.client = server.client.datasets
        self.server = server
        self.folder = folder
        self.stub = dataset_pb2_grpc.DatasetServiceStub(server.connection.channel)

    def ask(self, method: str, **fields: Any) -> Any:
        return self.server.connection.call(
            getattr(self.stub, method), getattr(dataset_pb2, f"{method}Request")(**fields)
        )

    def send(self, *parts: dict[str, Any]) -> Any:
        """One upload of these messages."""

        def call(_: None, **options: Any) -> Any:
            return self.stub.UploadDataset((dataset_pb2.UploadDatasetRequest(**part) for part in parts), **options)

        return self.server.connection.call(call, None)

    def upload(self, data: bytes, dataset_id: str, format_: Any = "prompts", **more: Any) -> Any:
        file = self.folder / "file"
        file.write_bytes(data)
        return self.client.upload(file, dataset_id, format_, **more)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    with run_server(tmp_path_factory.mktemp("server")) as server:
        yield Door(server, tmp_path_factory.mktemp("files"))


def spec(data: bytes, dataset_id: str, **more: Any) -> dict[str, Any]:
    said = {"format": "DATASET_FORMAT_PROMPTS", "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
    return {"upload": {"dataset_id": dataset_id} | said | more}


def chunk(data: bytes, offset: int = 0) -> dict[str, Any]:
    return {"chunk": {"offset": offset, "data": data}}


@pytest.mark.parametrize("format_", OF_EACH_FORMAT)
def test_a_file_of_each_format_comes_back_byte_for_byte(door, format_):
    data = OF_EACH_FORMAT[format_]
    stored = door.upload(data, f"each-{format_}", format_, description="mine")
    assert (stored.format, stored.hash, stored.size) == (format_, hashlib.sha256(data).hexdigest(), len(data))
    assert stored.encoding == ("yaml" if format_ == "constitution" else "jsonl")
    assert b"".join(door.client.export(f"each-{format_}")) == data
    named = door.client.get(f"each-{format_}")
    assert named.dataset == stored and named.run_ids == ()
    rows = list(door.client.rows(f"each-{format_}"))
    assert len(rows) == stored.rows
    if format_ != "constitution":
        assert rows == [json.loads(line) for line in data.splitlines() if line]
    else:
        assert len(rows) > 3 and all(row["id"] for row in rows)


def test_rows_are_numbered_by_line_and_come_in_pages(door):
    lines = [json.dumps({"prompt": f"Question {number}?"}) for number in range(700)]
    door.upload(("\n\n".join(lines) + "\n").encode(), "paged")
    seen, token, sizes = [], "", []
    while True:
        answer = door.ask("ListDatasetRows", dataset_id="paged", page_size=300, page_token=token)
        seen += list(answer.rows)
        sizes.append(len(answer.rows))
        assert answer.total_rows == 700
        if not (token := answer.next_page_token):
            break
    assert sizes == [300, 300, 100]
    assert [row.json for row in seen] == lines
    assert [row.number for row in seen] == list(range(1, 1400, 2))


def test_a_page_of_long_rows_is_short(door):
    lines = [json.dumps({"prompt": "x" * 1_500_000 + str(number)}) for number in range(7)]
    door.upload("\n".join(lines).encode(), "long-rows")
    first = door.ask("ListDatasetRows", dataset_id="long-rows", page_size=1000)
    assert len(first.rows) == 3 and first.next_page_token
    assert [row["prompt"][-1] for row in door.client.rows("long-rows")] == list("0123456")


def test_an_upload_that_broke_off_goes_on_where_it_ended(door):
    data = b"".join(b'{"prompt": "Question %d?"}\n' % number for number in range(100))
    cut = len(data) // 2
    answer = door.send(spec(data, "resumed"), chunk(data[:cut]))
    assert not answer.HasField("dataset") and answer.received_bytes == cut
    told = door.ask("GetUpload", sha256=hashlib.sha256(data).hexdigest())
    assert (told.received_bytes, told.stored) == (cut, False)
    with pytest.raises(NotFound, match='no dataset "resumed"'):
        door.client.get("resumed")
    # What is sent twice changes nothing.
    answer = door.send(spec(data, "resumed"), chunk(data[cut - 50 : cut + 50], cut - 50), chunk(data[cut:], cut))
    assert answer.dataset.rows == 100
    told = door.ask("GetUpload", sha256=hashlib.sha256(data).hexdigest())
    assert (told.received_bytes, told.stored) == (len(data), True)


def test_an_upload_outlives_the_server(tmp_path):
    data = PROMPTS * 50
    with run_server(tmp_path) as server:
        Door(server, tmp_path).send(spec(data, "mine"), chunk(data[:100]))
    with run_server(tmp_path) as server:
        door = Door(server, tmp_path)
        assert door.client.received(hashlib.sha256(data).hexdigest()) == 100
        assert door.upload(data, "mine").rows == 100
        assert not any((tmp_path / "uploads").iterdir())


def test_content_that_is_there_needs_no_byte_and_is_checked_for_its_new_format(door):
    door.upload(PAIRS * 3, "pairs-once", "preferences")
    again = door.send(spec(PAIRS * 3, "pairs-twice", format="DATASET_FORMAT_LABELS"))
    assert (again.dataset.id, again.dataset.rows) == ("pairs-twice", 3)
    with pytest.raises(InvalidInput, match=r"upload:1: "):
        door.send(spec(PAIRS * 3, "no-ratings", format="DATASET_FORMAT_RATINGS"))


def test_a_name_gets_versions_and_each_can_be_had(door):
    first = door.upload(PROMPTS, "growing")
    assert door.upload(PROMPTS, "growing") == first
    second = door.upload(PROMPTS * 2, "growing", etag=first.etag)
    assert door.client.get("growing").dataset == second
    assert door.client.get(f"growing@{first.hash[:8]}").dataset == first
    assert door.client.get(f"dataset:growing@{first.hash}").dataset == first
    assert door.client.get(second.hash).dataset.hash == second.hash
    assert door.client.list(versions_of="growing").datasets == [second, first]
    with pytest.raises(Stale, match="has changed since etag"):
        door.upload(PROMPTS * 3, "growing", etag=first.etag)
    with pytest.raises(Stale, match="does not exist"):
        door.upload(PROMPTS * 3, "not-there-yet", etag=first.etag)
    assert b"".join(door.client.export(f"growing@{first.hash[:12]}")) == PROMPTS


def test_the_list_holds_the_newest_of_each_and_one_format_alone(tmp_path):
    with run_server(tmp_path) as server:
        door = Door(server, tmp_path)
        for number in range(5):
            door.upload(PROMPTS * (number + 1), f"set-{number}")
        door.upload(PAIRS, "pairs", "preferences")
        door.upload(PROMPTS * 9, "set-1")
        assert [found.id for found in door.client.list().datasets] == [
            "set-1",
            "pairs",
            "set-4",
            "set-3",
            "set-2",
            "set-0",
        ]
        assert [found.id for found in door.client.list(format_="preferences").datasets] == ["pairs"]
        first = door.client.list(page_size=4)
        rest = door.client.list(page_size=4, page_token=first.next_page_token)
        assert [found.id for found in rest.datasets] == ["set-2", "set-0"] and not rest.next_page_token
        masked = door.ask("ListDatasets", read_mask=FieldMask(paths=["id", "rows"])).datasets[0]
        assert {field.name for field, _ in masked.ListFields()} == {"id", "rows"}


def test_what_is_only_tried_is_not_stored(door):
    tried = door.upload(PROMPTS * 7, "tried", validate_only=True)
    assert (tried.id, tried.rows) == ("tried", 14)
    with pytest.raises(NotFound):
        door.client.get("tried")
    with pytest.raises(InvalidInput, match="upload:3"):
        door.upload(PROMPTS.replace(b"Und fegen?", b""), "tried", validate_only=True)


def test_deleting_takes_every_version_once(door):
    door.upload(PROMPTS, "going")
    newest = door.upload(PROMPTS * 2, "going")
    would = door.client.delete("going", validate_only=True)
    assert (would.versions, would.size, would.runs) == (2, 3 * len(PROMPTS), ())
    assert door.client.get("going").dataset == newest
    with pytest.raises(Stale):
        door.client.delete("going", etag="other")
    deleted = door.client.delete("datasets/going", newest.etag, "once")
    assert deleted == would
    assert door.client.delete("datasets/going", newest.etag, "once") == deleted
    with pytest.raises(RequestReused):
        door.client.delete("going", "", "once")
    with pytest.raises(NotFound):
        door.client.get("going")
    with pytest.raises(NotFound, match='did you mean "'):
        door.upload(PROMPTS, "goings")
        door.client.delete("goingz")


BAD_ROWS = b'{"prompt": "Good?"}\n{"prompt": 3}\n{"prompt": "x", "tools": [1]}\nnot json\n'


def test_a_bad_row_is_refused_by_its_line_and_nothing_stays(door):
    with pytest.raises(InvalidInput) as caught:
        door.upload(BAD_ROWS, "bad")
    told = str(caught.value)
    assert (
        "upload:2: 'prompt' is a number" in told
        and "upload:3: 'tools'" in told
        and "upload:4: this is not JSON" in told
    )
    assert "upload:1" not in told and caught.value.field == "upload"
    with pytest.raises(NotFound):
        door.client.get("bad")
    assert door.client.received(hashlib.sha256(BAD_ROWS).hexdigest()) == 0


GOOD = b'{"prompt": "Is this well formed?"}\n'


@pytest.mark.parametrize(
    ("parts", "field", "told"),
    [
        ((), "upload", "first message"),
        ((chunk(GOOD),), "upload", "first message"),
        (({},), "upload", "first message"),
        ((spec(GOOD, "a"), spec(GOOD, "a")), "upload", "said twice"),
        ((spec(GOOD, "a"), {}), "upload", "said twice"),
        ((spec(GOOD, ""),), "upload.dataset_id", "a letter first"),
        ((spec(GOOD, "Mine"),), "upload.dataset_id", "a letter first"),
        ((spec(GOOD, "../../etc/passwd"),), "upload.dataset_id", "a letter first"),
        ((spec(GOOD, "a@b"),), "upload.dataset_id", "a letter first"),
        ((spec(GOOD, "runs/a"),), "upload.dataset_id", "not of datasets"),
        ((spec(GOOD, "a" * 64),), "upload.dataset_id", "up to 63"),
        ((spec(GOOD, "a", format=0),), "upload.format", "DATASET_FORMAT_PROMPTS"),
        ((spec(GOOD, "a", format=99),), "upload.format", "99 is not a known value"),
        ((spec(GOOD, "a", sha256="12"),), "upload.sha256", "64 hexadecimal digits"),
        ((spec(GOOD, "a", sha256="../" * 21 + "a"),), "upload.sha256", "64 hexadecimal digits"),
        ((spec(GOOD, "a", size_bytes=0),), "upload.size_bytes", "allowed: 1 to"),
        ((spec(GOOD, "a", size_bytes=-5),), "upload.size_bytes", "allowed: 1 to"),
        ((spec(GOOD, "a", size_bytes=2**40),), "upload.size_bytes", "limits.dataset_bytes"),
        ((spec(GOOD, "a", description="x" * 4001),), "upload.description", "4001 characters"),
        ((spec(GOOD, "a"), chunk(GOOD, 7)), "chunk.offset", "allowed: 0 to 0"),
        ((spec(GOOD, "a"), chunk(GOOD, -1)), "chunk.offset", "allowed: 0 to 0"),
        ((spec(GOOD, "a"), chunk(GOOD + b"x")), "chunk.data", "the file has 35"),
        ((spec(GOOD, "a"), chunk(GOOD.replace(b"Is", b"At"))), "upload.sha256", "send all again"),
        ((spec(b"\xff\xfe\n", "a"), chunk(b"\xff\xfe\n")), "upload", "not UTF-8"),
        ((spec(b"\n\n\n", "a"), chunk(b"\n\n\n")), "upload", "no rows"),
        ((spec(b"PAR1 no", "a"), chunk(b"PAR1 no")), "upload", "Parquet file cannot be read"),
        ((spec(b"id: [", "a", format=8), chunk(b"id: [")), "upload", "upload:1"),
        ((spec(b"a\xff", "a", format=8), chunk(b"a\xff")), "upload", "not a text in UTF-8"),
    ],
)  # fmt: skip
def test_an_upload_that_cannot_be_is_refused_with_its_field_and_leaves_nothing(door, parts, field, told):
    with pytest.raises(InvalidInput) as caught:
        door.send(*parts)
    assert caught.value.field == field and told in str(caught.value), str(caught.value)
    assert "Traceback" not in str(caught.value)
    with pytest.raises(NotFound):
        door.client.get("a")
    assert door.client.received(hashlib.sha256(GOOD).hexdigest()) == 0


@pytest.mark.parametrize(
    ("method", "fields", "field", "told"),
    [
        ("GetUpload", {}, "sha256", "64 hexadecimal"),
        ("GetDataset", {}, "dataset_id", "datasets/ID"),
        ("GetDataset", {"dataset_id": "A B"}, "dataset_id", "dataset:NAME"),
        ("GetDataset", {"dataset_id": "kept@xyz"}, "dataset_id", "8 to 64"),
        ("GetDataset", {"dataset_id": "runs/kept"}, "dataset_id", "not of datasets"),
        ("GetDataset", {"dataset_id": "kept", "read_mask": {"paths": ["rowz"]}}, "read_mask", 'did you mean "rows"'),
        ("ListDatasets", {"page_size": -1}, "page_size", "allowed: 0 to 1000"),
        ("ListDatasets", {"page_token": "x"}, "page_token", "begin again without"),
        ("ListDatasets", {"format": 99}, "format", "99 is not a known value"),
        ("ListDatasets", {"versions_of": "A"}, "versions_of", "a letter first"),
        ("ListDatasetRows", {"dataset_id": "kept", "page_token": "AAAA"}, "page_token", "begin again without"),
        ("ListDatasetRows", {"dataset_id": "kept", "page_size": -1}, "page_size", "allowed: 0 to 1000"),
        ("DeleteDataset", {}, "dataset_id", "a letter first"),
        ("DeleteDataset", {"dataset_id": "kept@12345678"}, "dataset_id", "a letter first"),
        ("DeleteDataset", {"dataset_id": "kept", "request_id": "x" * 201}, "request_id", "201"),
    ],
)  # fmt: skip
def test_other_wrong_requests_name_their_field(door, method, fields, field, told):
    door.upload(PROMPTS, "kept")
    with pytest.raises(InvalidInput) as caught:
        door.ask(method, **fields)
    assert caught.value.field == field and told in str(caught.value), str(caught.value)
    assert door.client.get("kept").dataset.rows == 2


@pytest.mark.parametrize(
    ("fields", "field", "told"),
    [
        ({"dataset_id": "kept", "encoding": 99}, "encoding", "99 is not a known value"),
        ({"dataset_id": "kept", "encoding": "DATASET_ENCODING_YAML"}, "encoding", "cannot be written as yaml"),
        ({"dataset_id": "kept", "offset": -1}, "offset", "allowed: 0 to"),
        ({"dataset_id": "kept", "offset": 10**6}, "offset", "allowed: 0 to"),
    ],
)
def test_an_export_that_cannot_be_is_refused_with_its_field(door, fields, field, told):
    door.upload(PROMPTS, "kept")
    request = dataset_pb2.ExportDatasetRequest(**fields)
    with pytest.raises(InvalidInput) as caught:
        list(door.server.connection.stream(door.stub.ExportDataset, request))
    assert caught.value.field == field and told in str(caught.value)


def test_an_export_goes_on_from_any_byte(door):
    door.upload(PROMPTS, "kept")
    request = dataset_pb2.ExportDatasetRequest(dataset_id="kept", offset=11)
    first, *rest = door.server.connection.stream(door.stub.ExportDataset, request)
    assert first.dataset.id == "kept" and b"".join(answer.data for answer in rest) == PROMPTS[11:]


def test_a_token_of_rows_is_of_one_version(door):
    door.upload(PROMPTS, "turning")
    token = door.ask("ListDatasetRows", dataset_id="turning", page_size=1).next_page_token
    assert door.ask("ListDatasetRows", dataset_id="turning", page_token=token).rows[0].number == 3
    door.upload(PROMPTS * 2, "turning")
    with pytest.raises(InvalidInput, match="begin again without a token"):
        door.ask("ListDatasetRows", dataset_id="turning", page_token=token)


def test_a_name_keeps_its_format(door):
    door.upload(PROMPTS, "only-prompts")
    with pytest.raises(Conflict, match="of format prompts, not preferences; take another name"):
        door.upload(PAIRS * 7, "only-prompts", "preferences")
    assert door.client.received(hashlib.sha256(PAIRS * 7).hexdigest()) == 0, "before a byte is sent"


def test_a_file_that_is_not_there_or_empty_is_told_before_anything_is_sent(door, tmp_path):
    with pytest.raises(InvalidInput, match="there is no such file"):
        sha256_of(tmp_path / "none")
    (tmp_path / "empty").touch()
    with pytest.raises(InvalidInput, match="the file is empty"):
        door.client.upload(tmp_path / "empty", "empty", "prompts")


def test_bytes_that_are_no_message_are_told_by_their_field(door):
    call = door.server.connection.channel.stream_unary("/charter.v1.DatasetService/UploadDataset")
    with pytest.raises(grpc.RpcError) as caught:
        call(iter([b"\x0a\x02\x0a\xff"]), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_the_largest_file_is_the_servers_to_say_and_uploads_ask_for_a_scope(tmp_path):
    limits = Limits(dataset_bytes=100)
    file = tmp_path / "file"
    file.write_bytes(PROMPTS * 2)

    def look(address: str) -> None:
        with CharterClient.connect(address, "s3cret") as client:
            assert client.server.get_info().limits.max_dataset_bytes == 100
            with pytest.raises(InvalidInput, match="allowed: 1 to 100"):
                client.datasets.upload(file, "big", "prompts")
        with CharterClient.connect(address, "other") as client, pytest.raises(InvalidInput, match="token"):
            client.datasets.upload(file, "big", "prompts")

    config = ServeConfig(
        address=f"unix:{tmp_path}/s", data=tmp_path / "d", only=WITHOUT_MODEL, limits=limits, token="s3cret"
    )
    serving(config, look)


@pytest.mark.parametrize("format_", [name for name in OF_EACH_FORMAT if name != "constitution"])
def test_rows_of_each_format_go_through_parquet_and_back(door, format_, tmp_path):
    door.upload(OF_EACH_FORMAT[format_], f"lines-{format_}", format_)
    parquet = b"".join(door.client.export(f"lines-{format_}", "parquet"))
    stored = door.upload(parquet, f"parquet-{format_}", format_)
    assert (stored.encoding, stored.size) == ("parquet", len(parquet))
    rows = [json.loads(line) for line in OF_EACH_FORMAT[format_].splitlines() if line]
    assert list(door.client.rows(f"parquet-{format_}")) == rows
    back = b"".join(door.client.export(f"parquet-{format_}", "jsonl"))
    assert [json.loads(line) for line in back.splitlines()] == rows
    assert b"".join(door.client.export(f"parquet-{format_}")) == parquet


def parquet_of(rows, file, **how):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file, **how)


def bytes_read() -> int:
    """Of this process, from files and sockets."""
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has read is told by /proc")
def test_pages_of_one_row_group_in_a_row_read_the_file_once(door, tmp_path):
    rows = [{"prompt": f"Question {number}? " + os.urandom(2000).hex()} for number in range(1200)]
    parquet_of(rows, tmp_path / "rows", compression="none", use_dictionary=False)
    size = (tmp_path / "rows").stat().st_size
    door.upload((tmp_path / "rows").read_bytes(), "one-group")
    before = bytes_read()
    assert len(list(door.client.rows("one-group", page_size=30))) == 1200
    in_a_row = bytes_read() - before
    # Each answer comes over a socket, which counts twice at the most.
    assert in_a_row < 5 * size, f"{in_a_row / size:.1f} times the file, where each of 40 pages began it anew: over 20"
    answer = door.ask("ListDatasetRows", dataset_id="one-group", page_size=30)
    for _ in range(2):
        again = door.ask("ListDatasetRows", dataset_id="one-group", page_size=30, page_token=answer.next_page_token)
        assert [row.number for row in again.rows] == list(range(31, 61)), "also where the answer was lost"


def test_rows_of_parquet_come_in_pages(door, tmp_path):
    rows = [{"prompt": f"Question {number}?"} for number in range(150)]
    parquet_of(rows, tmp_path / "rows")
    door.upload((tmp_path / "rows").read_bytes(), "paged-parquet")
    first = door.ask("ListDatasetRows", dataset_id="paged-parquet", page_size=70)
    assert [row.number for row in first.rows] == list(range(1, 71))
    assert list(door.client.rows("paged-parquet", page_size=70)) == rows


def test_a_bad_row_of_parquet_is_refused_by_its_number(door, tmp_path):
    parquet_of([{"prompt": "Good?"}, {"prompt": " "}], tmp_path / "rows")
    with pytest.raises(InvalidInput, match="upload:2: the prompt is empty"):
        door.upload((tmp_path / "rows").read_bytes(), "bad-parquet")
    with pytest.raises(NotFound):
        door.client.get("bad-parquet")


def test_rows_that_no_table_holds_are_exported_as_lines_only(door):
    # Two columns of one name but two kinds, which nobody reads.
    door.upload(b'{"prompt": "A?", "id": 1}\n{"prompt": "B?", "id": "x"}\n', "mixed")
    with pytest.raises(InvalidInput, match='the key "id" cannot be a column of Parquet: it is a number in some rows'):
        list(door.client.export("mixed", "parquet"))


@pytest.mark.slow
def test_a_large_file_takes_several_calls(door, monkeypatch):
    monkeypatch.setattr(dataset, "CHUNK_BYTES", 100)
    monkeypatch.setattr(dataset, "CALL_BYTES", 250)
    data = b"".join(b'{"prompt": "Question %d?"}\n' % number for number in range(60))
    assert door.upload(data, "in-calls").rows == 60
    assert b"".join(door.client.export("in-calls")) == data


@pytest.mark.slow
def test_an_upload_waits_for_a_server_that_comes_back(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(PROMPTS)
    config = ServeConfig(address=f"unix:{tmp_path}/s", data=tmp_path / "d", only=WITHOUT_MODEL)
    with CharterClient.connect(config.address) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.datasets.upload, file, "patient", "prompts")
        time.sleep(1)
        assert not waiting.done()
        serving(config, lambda address: waiting.result(timeout=30))
        assert waiting.result().rows == 2


@pytest.mark.slow
def test_an_upload_to_nobody_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "PATIENCE_SECONDS", 0.5)
    (tmp_path / "file").write_bytes(PROMPTS)
    with (
        CharterClient.connect(f"unix:{tmp_path}/none") as client,
        pytest.raises(Unavailable, match="no server answers"),
    ):
        client.datasets.upload(tmp_path / "file", "lost", "prompts")
