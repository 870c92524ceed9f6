from itertools import pairwise
from pathlib import Path

import pytest

from rlhf_core.constitution.extends.resolve import MAX_FILES
from rlhf_core.constitution.load import (
    load_constitution,
    load_with_text,
    parse_constitution,
    parse_with_text,
)
from rlhf_core.constitution.validation.problems import InvalidConstitution

BASE = """\
schema: constitution/v1
id: base
version: 1.4.0
title: Base
objectives:
  helpful: {default_weight: 2}
  harmless: {}
defaults:
  critique: {rounds: 3, sampling: uniform_with_replacement}
  compare: {clamp: [0.4, 0.6]}
priority: [no-fumes, steps]
principles:
  - {id: no-fumes, serves: {harmless: 1}, compare: Which has less fumes?}
  - {id: steps, serves: {helpful: 1}, compare: Which has more steps?}
  - {id: kind, serves: {harmless: 1}, compare: Which is kinder?}
"""
MINE = """\
schema: constitution/v1
id: mine
version: 1.0.0
title: Mine
extends: [base.yaml@^1.2]
disable: [base/kind]
principles:
  - {id: steps, serves: {helpful: 0.5}, weight: 3, compare: Which steps are clearer?}
  - {id: short, serves: {helpful: 1}, compare: Which is shorter?}
"""


def write(folder: Path, **files: str) -> str:
    """Each file of the folder; the path of the one called `mine`."""
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    return str(folder / "mine.yaml")


def problems(path: str) -> list[str]:
    """The problems without the folder of their files."""
    with pytest.raises(InvalidConstitution) as caught:
        load_constitution(path)
    return [str(problem).replace(f"{Path(path).parent}/", "") for problem in caught.value.problems]


def one_line(entry: str, name: str = "mine") -> str:
    """A constitution that only extends."""
    return f"schema: constitution/v1\nid: {name}\nversion: 1.0.0\ntitle: T\nextends: [{entry}]\n"


def test_principles_are_merged_by_id_and_the_later_wins(tmp_path):
    constitution = load_constitution(write(tmp_path, base=BASE, mine=MINE))
    assert [(p.id, p.weight, p.compare) for p in constitution.principles] == [
        ("no-fumes", 1, "Which has less fumes?"),
        ("steps", 3, "Which steps are clearer?"),
        ("short", 1, "Which is shorter?"),
    ]
    assert constitution.inherited == {"no-fumes": "base"}
    assert (constitution.extends, constitution.disable) == (("base.yaml@^1.2",), ("base/kind",))
    assert constitution.default_weights() == {"helpful": 2.0, "harmless": 1.0}
    assert constitution.priority == ("no-fumes", "steps")
    assert [Path(file.source).name for file in constitution.files] == ["mine.yaml", "base.yaml"]
    assert constitution.file_hash == constitution.files[0].hash != constitution.files[1].hash


def test_of_two_extended_files_the_second_wins(tmp_path):
    other = BASE.replace("id: base", "id: other").replace("less fumes", "fewer fumes").replace("rounds: 3", "rounds: 1")
    mine = one_line("base.yaml, other.yaml")
    constitution = load_constitution(write(tmp_path, base=BASE, other=other, mine=mine))
    assert constitution.principle("no-fumes").compare == "Which has fewer fumes?"
    assert set(constitution.inherited.values()) == {"other"} and constitution.defaults.critique.rounds == 1


def test_defaults_are_merged_key_by_key(tmp_path):
    mine = MINE + "defaults: {critique: {rounds: 1}}\npriority: [short]\n"
    constitution = load_constitution(write(tmp_path, base=BASE, mine=mine))
    assert constitution.defaults.critique.model_dump(exclude_none=True) == {
        "rounds": 1,
        "sampling": "uniform_with_replacement",
    }
    assert constitution.defaults.compare.clamp == (0.4, 0.6) and constitution.priority == ("short",)


def test_a_file_that_only_extends_means_what_it_extends_but_for_its_name(tmp_path):
    path = write(tmp_path, base=BASE, mine=one_line("base.yaml", "base"))
    assert load_constitution(path).hash == parse_constitution(BASE, "b").hash


def test_an_edit_of_an_extended_file_changes_the_hash(tmp_path):
    before = load_constitution(write(tmp_path, base=BASE, mine=MINE))
    after = load_constitution(write(tmp_path, base=BASE.replace("less fumes", "few fumes")))
    assert before.hash != after.hash and before.file_hash == after.file_hash
    assert before.files[1].hash != after.files[1].hash


def test_a_diamond_reads_the_shared_file_once(tmp_path):
    left, right = one_line("base.yaml", "left"), one_line("base.yaml", "right")
    path = write(tmp_path, base=BASE, left=left, right=right, mine=one_line("left.yaml, right.yaml"))
    constitution = load_constitution(path)
    assert [Path(file.source).stem for file in constitution.files] == ["mine", "left", "base", "right"]
    assert set(constitution.inherited.values()) == {"base"}


def test_a_file_in_another_folder_is_found_from_the_file_that_extends_it(tmp_path):
    (tmp_path / "sub").mkdir()
    write(tmp_path, base=BASE)
    path = write(tmp_path / "sub", mine=MINE.replace("base.yaml", "../base.yaml"))
    assert "no-fumes" in load_constitution(path).inherited


@pytest.mark.parametrize(
    ("mine", "expected"),
    [
        (one_line("nope.yaml"), "5:11 C040 mine.yaml -> nope.yaml: there is no such file; give the path"),
        (
            one_line("builtin:bas-safety"),
            "5:11 C040 mine.yaml -> builtin:bas-safety: no built-in constitution has this name; "
            'did you mean "builtin:base-safety"?',
        ),
        (one_line("/base.yaml"), "5:11 C040 mine.yaml -> /base.yaml: the path is not relative to the file"),
        (one_line('""'), "5:11 C040 mine.yaml -> : the path is not relative to the file"),
        (one_line("mine.yaml"), "5:11 C040 the constitution extends itself: mine.yaml -> mine.yaml; leave one"),
        (one_line("base.yaml@^2"), "5:11 C040 mine.yaml -> base.yaml: its version is 1.4.0; ^2 was asked for"),
        (one_line("base.yaml@new"), '5:11 C040 the version range "new" is not understood; write it as in @^1'),
        (
            MINE.replace("base/kind", "base/knid"),
            '6:11 C041 no inherited principle is called "base/knid"; '
            'did you mean "base/kind"? known: base/no-fumes, base/steps, base/kind',
        ),
        (MINE.replace("base/kind", "other/kind"), '6:11 C041 no inherited principle is called "other/kind"'),
        (MINE + "priority: [shrot]\n", '10:12 C041 the principle "shrot" is unknown; did you mean "short"?'),
        (MINE + "priority: [kind]\n", '10:12 C041 the principle "kind" is unknown'),
        (MINE + "priority: [short, short]\n", '10:19 C041 the principle "short" is named twice'),
        (
            MINE.replace("[base/kind]", "[kind, no-fumes]"),
            '1:1 C023 no principle with a weight above 0 serves "harmless"',
        ),
        (MINE.replace("helpful: 0.5", "helpfull: 0.5"), '8:26 C022 the objective "helpfull" is unknown; did you'),
    ],
)
def test_what_cannot_be_extended_disabled_or_ranked_is_located(tmp_path, mine, expected):
    found = problems(write(tmp_path, base=BASE, mine=mine))
    assert len(found) == 1 and found[0].startswith(f"mine.yaml:{expected}"), found


def test_a_cycle_shows_its_chain(tmp_path):
    path = write(tmp_path, mine=one_line("one.yaml"), one=one_line("two.yaml"), two=one_line("mine.yaml"))
    found = problems(path)
    chain = "mine.yaml -> one.yaml -> two.yaml -> mine.yaml"
    assert found[-1].startswith(f"two.yaml:5:11 C040 the constitution extends itself: {chain}; leave one of them out")
    assert found[0].startswith("mine.yaml:5:11 C040 mine.yaml -> one.yaml: the file extended here has mistakes")


def test_mistakes_of_an_extended_file_come_with_those_of_the_file(tmp_path):
    base, mine = BASE.replace("helpful: 1", "helpfull: 1"), MINE.replace("title", "tilte")
    found = problems(write(tmp_path, base=base, mine=mine))
    assert [line.split()[0].split(":")[0] + " " + line.split()[1] for line in found] == [
        "mine.yaml C013", "mine.yaml C010", "mine.yaml C040", "base.yaml C023", "base.yaml C022",
    ]  # fmt: skip


def test_a_chain_of_too_many_files_ends(tmp_path):
    names = [f"n{at}" for at in range(MAX_FILES + 2)]
    chain = {name: one_line(f"{after}.yaml", name) for name, after in pairwise(names)}
    found = problems(write(tmp_path, mine=one_line("n0.yaml"), **chain))
    assert found[0].startswith("mine.yaml:5:11 C040 ") and f"more than {MAX_FILES} files in all" in found[-1]


def test_many_paths_to_the_same_files_are_read_in_no_time(tmp_path):
    layers = {f"n{at}": one_line(", ".join([f"n{at + 1}.yaml"] * 9), f"n{at}") for at in range(20)}
    constitution = load_constitution(write(tmp_path, mine=one_line("n0.yaml"), n20=BASE, **layers))
    assert len(constitution.files) == 22


def test_a_text_that_is_no_file_may_extend_what_is_built_in_but_no_file(tmp_path):
    write(tmp_path, base=BASE)
    assert "base-safety" in parse_constitution(one_line("builtin:base-safety@^1"), "wire").inherited.values()
    with pytest.raises(InvalidConstitution, match=r"wire:5:11 C040 wire -> .*base.yaml: only a file can extend a file"):
        parse_constitution(one_line(str(tmp_path / "base.yaml")), "wire")


def test_the_stored_text_needs_no_other_file_and_keeps_the_hash(tmp_path):
    constitution, text = load_with_text(write(tmp_path, base=BASE, mine=MINE))
    alone, again = parse_with_text(text, "stored")
    assert "extends" not in text and again == text
    assert (alone.hash, alone.principles) == (constitution.hash, constitution.principles)
    assert (alone.defaults, alone.priority) == (constitution.defaults, constitution.priority)
    assert load_with_text(str(tmp_path / "base.yaml"))[1] == BASE


def test_a_released_version_stands_for_one_meaning():
    released = parse_constitution(BASE, "b").hash
    log = f"changelog:\n  - {{version: 1.4.0, hash: {released}}}\n  - {{version: 1.3.0, hash: old}}\n"
    assert parse_constitution(BASE + log, "b").hash == released
    with pytest.raises(InvalidConstitution) as caught:
        parse_constitution(BASE.replace("less fumes", "few fumes") + log, "b")
    expected = f"b:17:28 C060 the text has changed since 1.4.0 was released with hash {released}; raise the version"
    assert str(caught.value).startswith(expected)
    assert parse_constitution(BASE.replace("1.4.0", "1.5.0").replace("less fumes", "few fumes") + log, "b")
