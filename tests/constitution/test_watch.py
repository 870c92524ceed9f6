"""A file that is edited while it is in use."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from rlhf_core.constitution import watch
from rlhf_core.constitution.load import builtin_text
from rlhf_core.constitution.validation.problems import InvalidConstitution
from rlhf_core.constitution.watch import WatchedConstitution

TEXT = builtin_text("household")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(TEXT)
    return path


def heavier(weight: int) -> str:
    return TEXT.replace("id: no-fumes\n", f"id: no-fumes\n    weight: {weight}\n")


def test_a_valid_edit_takes_over(file: Path):
    watched = WatchedConstitution(str(file))
    first = watched.current()
    file.write_text(heavier(3))
    second = watched.current()
    assert second.constitution.hash != first.constitution.hash and second.text == heavier(3)
    assert watched.status() == ("VALID", str(file), second.constitution.hash, ())


def test_an_invalid_edit_leaves_the_old_in_force_and_says_why(file: Path):
    watched = WatchedConstitution(str(file))
    first = watched.current()
    file.write_text(TEXT.replace("serves: {harmless: 1}", "serves: {harmles: 1}", 1))
    assert watched.current() is first
    status = watched.status()
    assert (status.state, status.active_hash) == ("INVALID", first.constitution.hash)
    assert "C022" in [problem.code for problem in status.problems] and status.problems[0].file == str(file)
    file.write_text(heavier(2))
    assert watched.status().state == "VALID" and watched.current().text == heavier(2)


def test_a_file_that_goes_is_invalid_until_it_is_back(file: Path):
    watched = WatchedConstitution(str(file))
    file.unlink()
    assert [problem.code for problem in watched.status().problems] == ["C000"]
    file.write_text(TEXT)
    assert watched.status().state == "VALID"


def test_touching_the_file_reads_no_constitution(file: Path, monkeypatch: pytest.MonkeyPatch):
    watched = WatchedConstitution(str(file))
    first = watched.current()
    monkeypatch.setattr(watch, "load_with_text", lambda *_: pytest.fail("the bytes are the same"))
    os.utime(file, ns=(1, 1))
    assert watched.current() is first


def test_an_invalid_file_is_refused_at_the_start(file: Path):
    file.write_text("id: [")
    with pytest.raises(InvalidConstitution):
        WatchedConstitution(str(file))


def test_threads_see_one_whole_constitution_or_the_other(file: Path):
    watched = WatchedConstitution(str(file))
    texts, seen, stop = (TEXT, heavier(3)), [], threading.Event()

    def read() -> None:
        while not stop.is_set():
            active = watched.current()
            weight = active.constitution.principle("no-fumes").weight
            seen.append((active.text == texts[1]) == (weight == 3))

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for turn in range(20):
        fresh = file.with_suffix(".new")
        fresh.write_text(texts[turn % 2])
        fresh.replace(file)
    stop.set()
    for reader in readers:
        reader.join()
    assert seen and all(seen)


def test_an_edit_of_what_the_file_extends_takes_over_too(tmp_path: Path):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    base.write_text(TEXT)
    mine.write_text(f"schema: constitution/v1\nid: mine\nversion: 1.0.0\ntitle: Mine\nextends: [./{base.name}]\n")
    watched = WatchedConstitution(str(mine))
    assert watched.current().constitution.principle("no-fumes").weight == 1
    base.write_text(heavier(3))
    assert watched.current().constitution.principle("no-fumes").weight == 3
    base.unlink()
    assert watched.status().state == "INVALID"
    assert watched.current().constitution.principle("no-fumes").weight == 3


def test_what_is_missing_is_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    base, mine = tmp_path / "base.yaml", tmp_path / "mine.yaml"
    mine.write_text(TEXT)
    watched = WatchedConstitution(str(mine))
    mine.write_text(f"schema: constitution/v1\nid: mine\nversion: 1.0.0\ntitle: Mine\nextends: [./{base.name}]\n")
    assert watched.status().state == "INVALID"
    base.write_text(TEXT)
    monkeypatch.setattr(watch, "RETRY_SECONDS", -1.0)
    assert watched.status().state == "VALID" and watched.current().constitution.id == "mine"
