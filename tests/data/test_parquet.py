"""Parquet in and out: the same rows as JSON lines, and what no column can hold."""

from __future__ import annotations

import json
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from rlhf_core.data import parquet, parquet_writer
from rlhf_core.data.loaders import load_demonstrations, load_labels, load_preferences, load_prompts
from rlhf_core.data.parquet_writer import write_rows
from rlhf_core.data.row_files import RowFile, load_rows, raw_rows
from rlhf_core.errors import InvalidInput
from tests.docs.reading import blocks, text_of

LOADERS = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "preferences": load_preferences,
    "labels": load_labels,
}


def rows_of(kind: str) -> list[dict[str, Any]]:
    """The rows that the page of data formats shows."""
    shown = [block for block in blocks(text_of("data-formats.md"), "jsonl") if block.about == kind]
    return [json.loads(line) for block in shown for line in block.text.splitlines()]


def as_jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]], name: str = "rows") -> Path:
    write_rows(RowFile(name, as_jsonl(path.with_name("lines"), rows)), path)
    return path


def plain(records: list[Any]) -> str:
    """What was read, whatever the file was called."""
    return repr(records).replace("rows.parquet", "FILE").replace("rows.jsonl", "FILE")


@pytest.mark.parametrize("kind", LOADERS)
def test_every_format_reads_the_same_from_parquet_as_from_json_lines(tmp_path, kind):
    rows = rows_of(kind)
    load, file = LOADERS[kind], tmp_path / "rows.parquet"
    if kind == "preferences":
        # Conversations that share all but the last reply have no column of one kind with plain replies.
        rows = [row for row in rows if "prompt" in row]
    as_parquet(file, rows)
    assert plain(load(file)) == plain(load(as_jsonl(tmp_path / "rows.jsonl", rows)))
    assert len(rows) >= 1


def test_text_and_messages_in_one_column_become_messages(tmp_path):
    rows = [
        {"prompt": "Hi?", "completion": "Yes."},
        {"prompt": [{"role": "user", "content": "Hi?"}], "completion": [{"role": "assistant", "content": "No."}]},
        {"prompt": "\n\nHuman: A?\n\nAssistant: B.\n\nHuman: C?\n\nAssistant:", "completion": "D."},
    ]
    as_parquet(tmp_path / "rows.parquet", rows)
    found = load_demonstrations(tmp_path / "rows.parquet")
    assert [shown.response for shown in found] == ["Yes.", "No.", "D."]
    assert [message.content for message in found[2].prompt.messages] == ["A?", "B.", "C?"]
    assert found[0].prompt.id == found[1].prompt.id


def test_a_text_whose_markers_no_conversation_has_is_one_message_beside_lists(tmp_path):
    rows = [
        {"prompt": "a", "response": "see:\nHuman: hi"},
        {"prompt": "b", "response": [{"role": "user", "content": "x"}]},
    ]
    found = pyarrow.parquet.read_table(as_parquet(tmp_path / "rows.parquet", rows)).to_pylist()
    assert found[0]["response"] == [{"role": "assistant", "content": "see:\nHuman: hi"}]


def test_what_a_row_does_not_have_is_null_and_read_as_left_out(tmp_path):
    file = tmp_path / "rows.parquet"
    as_parquet(file, [{"prompt": "One?", "tags": ["benign"]}, {"prompt": "Two?"}])
    assert [row for _, row in raw_rows(RowFile("rows", file))] == [
        {"prompt": "One?", "tags": ["benign"]},
        {"prompt": "Two?"},
    ]


def table(path: Path, **columns: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


def test_bad_rows_are_named_by_their_number(tmp_path):
    file = table(
        tmp_path / "rows.parquet", prompt=["Good?", None, " ", "Fine?"], system=[None, None, None, "Be brief."]
    )
    with pytest.raises(InvalidInput) as caught:
        load_prompts(file)
    told = str(caught.value).replace(str(file), "FILE")
    assert "FILE:2: the key 'prompt' is missing" in told and "FILE:3: the prompt is empty" in told
    assert "FILE:4: 'system'" in told and "FILE:1:" not in told


@pytest.mark.parametrize(
    ("column", "told"),
    [
        ([b"raw", b"bytes"], "'prompt' is an object"),
        ([1, 2], "'prompt' is a number"),
        ([{"role": "user"}, {"role": "user"}], "'prompt' is an object"),
    ],
)
def test_a_column_of_another_kind_is_no_text(tmp_path, column, told):
    with pytest.raises(InvalidInput, match=told):
        load_prompts(table(tmp_path / "rows.parquet", prompt=column))


def test_other_columns_of_any_kind_are_passed_over(tmp_path):
    import datetime
    import decimal

    when, price = [datetime.datetime(2026, 1, 1)], [decimal.Decimal("1.5")]
    file = table(tmp_path / "rows.parquet", prompt=["Hi?"], at=when, price=price, blob=[b"\xff"], score=[float("nan")])
    assert [prompt.messages[0].content for prompt in load_prompts(file)] == ["Hi?"]


@pytest.mark.parametrize("data", [b"PAR1", b"PAR1" + b"\0" * 100 + b"PAR1", b"PAR1 and no more"])
def test_what_only_begins_like_parquet_is_told_in_a_line(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(InvalidInput, match="this Parquet file cannot be read") as caught:
        load_prompts(tmp_path / "x")
    assert "\n" not in str(caught.value)


def test_a_file_that_was_cut_is_told_in_a_line(tmp_path):
    file = table(tmp_path / "rows.parquet", prompt=[f"Question {number}?" for number in range(500)])
    for size in (40, 200, file.stat().st_size - 1):
        cut = tmp_path / f"cut-{size}"
        cut.write_bytes(file.read_bytes()[:size])
        with pytest.raises(InvalidInput, match="this Parquet file cannot be read"):
            load_prompts(cut)


def test_no_rows_and_a_column_that_is_there_twice_are_refused(tmp_path):
    with pytest.raises(InvalidInput, match="the file has no rows"):
        load_prompts(table(tmp_path / "none", prompt=pyarrow.array([], pyarrow.string())))
    twice = pyarrow.Table.from_arrays([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["prompt", "prompt"])
    pyarrow.parquet.write_table(twice, tmp_path / "twice")
    with pytest.raises(InvalidInput, match='the column "prompt" is there twice'):
        load_prompts(tmp_path / "twice")


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ([1, "a"], "it is a number in some rows and text in others"),
        ([{"a": 1}, [1]], "it is an object in some rows and a list in others"),
        ([2**80, 1], "cannot be a column"),
    ],
)
def test_values_of_several_kinds_cannot_be_a_column(tmp_path, values, told):
    with pytest.raises(InvalidInput, match=told) as caught:
        as_parquet(tmp_path / "rows.parquet", [{"x": value} for value in values], "export")
    assert "export JSON lines instead" in str(caught.value) and not (tmp_path / "rows.parquet").exists()


def test_without_its_package_parquet_names_the_extra(tmp_path, monkeypatch):
    file = table(tmp_path / "rows.parquet", prompt=["Hi?"])
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for work in (lambda: load_prompts(file), lambda: as_parquet(tmp_path / "y", [{"prompt": "Hi?"}])):
        with pytest.raises(InvalidInput, match=r"the extra `parquet`; pip install -e '.\[parquet\]'"):
            work()
    assert load_rows(as_jsonl(tmp_path / "rows.jsonl", [{"prompt": "Hi?"}]), lambda row, _: row) == [{"prompt": "Hi?"}]


@pytest.mark.parametrize("value", [{}, [{}], "\ud800"])
def test_what_no_column_holds_is_refused_with_a_way_out(tmp_path, value):
    with pytest.raises(InvalidInput, match="Parquet") as refused:
        as_parquet(tmp_path / "rows.parquet", [{"prompt": "x", "meta": value}])
    assert "JSON lines" in str(refused.value.hint)


def test_columns_whose_kinds_only_later_rows_show_are_the_same_in_every_row_group(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 2)
    rows = [
        *({"prompt": f"Q{n}?", "score": n, "note": {"a": n}} for n in range(4)),
        {"prompt": [{"role": "user", "content": "Q4?"}], "score": 0.5, "note": {"b": "x"}, "tags": ["late"]},
    ]
    file = as_parquet(tmp_path / "rows.parquet", rows)
    assert pyarrow.parquet.ParquetFile(file).metadata.num_row_groups == 3
    found = [row for _, row in raw_rows(RowFile("rows", file))]
    assert [row["prompt"][0]["content"] for row in found] == [f"Q{n}?" for n in range(5)]
    assert [row["score"] for row in found] == [0, 1, 2, 3, 0.5] and found[4]["tags"] == ["late"]
    assert (found[0]["note"], found[4]["note"]) == ({"a": 0, "b": None}, {"a": None, "b": "x"})


def test_values_of_several_kinds_are_told_also_where_they_lie_far_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_writer, "GROUP_ROWS", 2)
    with pytest.raises(InvalidInput, match="it is a number in some rows and text in others"):
        as_parquet(tmp_path / "rows.parquet", [{"x": 1}, {"x": 2}, {"x": "a"}])


@pytest.mark.parametrize("after", [0, 1, 9, 10, 11, 25, 39, 40])
def test_reading_begins_behind_any_row(tmp_path, after):
    file = tmp_path / "rows.parquet"
    texts = [f"Q{n}?" for n in range(40)]
    pyarrow.parquet.write_table(pyarrow.table({"prompt": texts}), file, row_group_size=10)
    found = list(parquet.read_rows(file, "rows", after))
    assert found == [(n + 1, {"prompt": f"Q{n}?"}) for n in range(after, 40)]


def test_rows_are_written_without_all_of_them_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_writer, "GROUP_BYTES", 2**20)
    rows = ({"prompt": "Q?", "completion": f"{n} " * 100_000} for n in range(60))
    with (tmp_path / "lines").open("w") as lines:
        lines.writelines(f"{json.dumps(row)}\n" for row in rows)
    tracemalloc.start()
    try:
        write_rows(RowFile("rows", tmp_path / "lines"), tmp_path / "rows.parquet")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (tmp_path / "lines").stat().st_size
    assert peak < 0.5 * size and size > 15e6, f"{peak / 1e6:.0f} MB at the most, of {size / 1e6:.0f}"


@pytest.mark.parametrize(("distinct", "dictionary"), [(3, True), (32, False)])
def test_rows_of_long_texts_are_few_in_memory_at_a_time(tmp_path, monkeypatch, distinct, dictionary):
    """Three texts lie in a column's dictionary, a small part of what the rows are; many lie one after the other."""
    monkeypatch.setattr(parquet, "BATCH_BYTES", 4_000_000)
    file, texts = tmp_path / "rows.parquet", [f"{n:07} " * 125_000 for n in range(distinct)]
    whole = pyarrow.table({"prompt": [texts[n % distinct] for n in range(32)]})
    pyarrow.parquet.write_table(whole, file, use_dictionary=dictionary, data_page_size=1, write_batch_size=1)
    del texts, whole
    before, peak, count = pyarrow.total_allocated_bytes(), 0, 0
    for _, row in parquet.read_rows(file, "rows"):
        peak = max(peak, pyarrow.total_allocated_bytes() - before)
        count += len(row["prompt"]) == 1_000_000
    assert count == 32 and peak < 14e6, f"{peak / 1e6:.0f} MB, where 16 rows have 16 and their buffers more"
