import os
import time
from pathlib import Path

import pytest
from ruamel.yaml.scanner import Scanner

from rlhf_core.constitution.load import MAX_BYTES, builtin_text, load_constitution, parse_constitution
from rlhf_core.constitution.validation.problems import InvalidConstitution
from rlhf_core.errors import InvalidInput


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConstitution) as caught:
        parse_constitution(text, "t")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "t:1:1 C001 the file is empty"),
        ("# only a comment\n", "t:1:1 C001 the file is empty"),
        ("- a\n", "t:1:1 C011 the file is a list, not a mapping"),
        ("text", 't:1:1 C011 the file is "text", not a mapping'),
        ("a: [1, 2\n", "t:2:1 C001 while parsing a flow sequence"),
        ("a: 'x\nb: y", "t:2:5 C001 while scanning a quoted scalar"),
        ("a: \x00", "t:1:4 C001 the character U+0000 is not allowed"),
        ("a:\n  b: c: d", "t:2:7 C001 mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "t:2:1 C001 a second document begins"),
        ("a: &x [1]\nb: *x\n", "t:2:4 C001 aliases are not allowed"),
        ("a: !!python/object:os.system ls", "t:1:4 C001 the tag tag:yaml.org,2002:python/object:os.system is not"),
        ('a: 1\nb: "\\UFFFFFFFF"', "t:2:1 C001 this is not YAML from here on"),
        (f"%YAML {'9' * 5000}.1\n---\na: 1", "t:1:1 C001 this is not YAML from here on"),
        ("? [a]\n: 1\n", "t:1:3 C001 a key is a list or a mapping"),
        ("[" * 100_000, "t:1:17 C001 more than 16 levels of nesting"),
        ("{" * 100_000, "t:1:2 C001 a key is a list or a mapping"),
        ("- " * 100_000, "t:1:33 C001 more than 16 levels of nesting"),
        ("x" * (MAX_BYTES + 1), "t:1:1 C000 the file is larger than 500000 bytes"),
    ],
    ids=lambda value: repr(value[:20]),
)
def test_text_that_is_no_constitution_gives_a_located_error(text, expected):
    assert problems(text)[0].startswith(expected)


@pytest.mark.parametrize("text", ["[" * 9000, "{" * 9000, "[[]," * 3000, '["a",' * 3000, 'a: "\t"\nb: ' + "[" * 9000])
def test_what_is_nested_too_deeply_is_not_read_to_its_end(text, monkeypatch):
    read = []
    monkeypatch.setattr(
        Scanner, "fetch_more_tokens", lambda self, go=Scanner.fetch_more_tokens: read.append(1) or go(self)
    )
    assert problems(text)[0].split()[1] == "C001"
    assert 10 < len(read) < 100


def test_an_alias_bomb_stops_at_its_first_alias():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 30)]
    assert problems("\n".join(lines)) == ["t:2:10 C001 aliases are not allowed; write the text out where it is used"]


def test_messages_stay_on_one_printable_line():
    for key in ('"a\\nb"', '"\\e[31m"', '"\\ud800"', "k" * 1000):
        for line in problems(f"{key}: 1\n"):
            assert line.isprintable() and len(line) < 800
            line.encode()


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda folder: folder / "none.yaml", ":1:1 C000 there is no such file; give the path of a YAML file"),
        (lambda folder: folder, ":1:1 C000 this is not a file"),
        (lambda folder: Path(os.devnull), ":1:1 C000 this is not a file"),
        (lambda folder: folder / "a\0b", ":1:1 C000 the file cannot be read: "),
    ],
    ids=["missing", "folder", "device", "nul"],
)
def test_a_path_that_cannot_be_read_is_named(tmp_path, make, expected):
    path = str(make(tmp_path))
    with pytest.raises(InvalidConstitution) as caught:
        load_constitution(path)
    assert str(caught.value).startswith(path + expected)


def test_a_file_that_is_not_utf8_is_located(tmp_path):
    path = tmp_path / "latin.yaml"
    path.write_bytes("schema: x\ntitle: caf\u00e9\n".encode("latin-1"))
    with pytest.raises(InvalidConstitution) as caught:
        load_constitution(str(path))
    assert str(caught.value) == f"{path}:2:11 C000 the byte 0xe9 is not UTF-8; save as UTF-8"


def test_a_file_of_100_megabytes_is_refused_without_reading_it(tmp_path):
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(InvalidConstitution, match="C000 the file is larger than 500000 bytes"):
        load_constitution(str(path))


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path):
    path = tmp_path / "windows.yaml"
    text = builtin_text("assistant")
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    windows, plain = load_constitution(str(path)), parse_constitution(text, "t")
    assert (windows.principles, windows.hash) == (plain.principles, plain.hash)
    assert windows.file_hash != plain.file_hash


def test_a_mistake_is_the_users_and_names_its_field():
    with pytest.raises(InvalidInput) as caught:
        parse_constitution("", "t")
    assert caught.value.field == "constitution"


def test_a_file_with_thousands_of_wrong_names_is_answered_in_seconds():
    objectives = "".join(f"  o{at}: {{}}\n" for at in range(2000))
    principles = "".join(f"  - {{id: p{at}, serves: {{x{at}: 1}}, compare: q}}\n" for at in range(2000))
    start = time.process_time()
    head = "schema: constitution/v1\nid: a\nversion: 1.0.0\ntitle: t\n"
    found = problems(f"{head}objectives:\n{objectives}principles:\n{principles}")
    assert len(found) == 4000 and time.process_time() - start < 10
    assert found[-1].endswith(", o38, o39, and 1960 more")
