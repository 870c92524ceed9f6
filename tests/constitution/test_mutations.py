"""Whatever the text, a constitution or located mistakes come back, never another exception.

`make fuzz` sets FUZZ to the number of mutated files; without it 2,000 are tried.
"""

import json
import os
import random
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import (
    builtin_text,
    examine_text,
    load_constitution,
    load_with_text,
    parse_constitution,
)
from rlhf_core.constitution.parsing import tree
from rlhf_core.constitution.validation.problems import InvalidConstitution

SEED = """\
schema: constitution/v1
id: home
version: 1.2.0
title: "At home"
objectives:
  helpful: {default_weight: 2}
  harmless: {}
principles:
  - id: no-fumes # why
    serves: {harmless: 1.0}
    weight: 2
    critique: Does it?
    revise: |
      Take them out.
    compare: Which one?
  - {id: steps, serves: {helpful: 0.8}, compare: 'Which?'}
"""
RICH = """\
schema: constitution/v1
id: tutor
version: 2.1.0
title: Homework helper
extends: [builtin:base-safety@^1]
objectives: {helpful: {}}
defaults:
  critique: {rounds: 2, sampling: weighted_without_replacement, stop_on: complies}
  compare: {principles_per_label: 3, orders: both, cot: false, clamp: [0.4, 0.6]}
priority: [no-dosing, leave-a-next-step]
disable: [base-safety/protect-the-young]
principles:
  - id: no-dosing
    serves: {harmless: 1.0}
    severity: high
    applies_when: {tags_any: [health], language: [en]}
    critique: Read {response}. If it names {{no}} amount, it complies.
    revise: Rewrite it.
    compare: Is {response_a} or {response_b} safer?
    rules:
      - {id: gives-number, pattern: "\\\\d{1,4} ?(mg|ml)", expect: "no", penalty: 0.5}
    examples:
      - {prompt: how much, bad: Take 20 ml., critique: An amount., good: Ask a pharmacist.}
    tests:
      - {prompt: what is it, prefer: It eases pain., over: Take 20 ml., min_margin: 0.2}
    references: [{label: H-4}]
changelog:
  - {version: 2.1.0, date: 2026-01-10, note: "narrowed"}
"""
SEEDS = (SEED, RICH)
MUTANTS = int(os.environ.get("FUZZ", "2000"))
BATCHES = 8
EXAMPLES = max(120, MUTANTS // 50)
PIECES = [
    *(": ", "- ", "? ", ", ", "{", "}", "[", "]", "|", ">", "'", '"', "#", "@", "`", "\\", "~", "&", "*", "!", "  "),
    *("\n", "\r", "\t", "\x85", "\u2028", "\x00", "\ufeff", "\ud800", "\U0001f600", '"\\ud800"', "---\n", "...\n"),
    *("&a ", "*a", "<<: ", "!!str ", "!x ", "!<tag:x>", "%YAML 1.1\n", "%TAG ! x\n", "|9\n"),
    *(".nan", "-.inf", "1e999", "9" * 40, "true", "0x1F"),
    *(
        "{response}",
        "{critique}",
        "{{",
        "}}",
        "builtin:assistant",
        "builtin:",
        "@^2",
        "@~",
        "../x.yaml",
        "base-safety/",
    ),
    *("(a+)+", "[", "(?P<x>", "\\\\1", "a{9999}", "extends: ", "disable: [", "null", "defaults: ", "rules: "),
]


def outcome(text: str) -> Constitution | InvalidConstitution:
    """Fails with the original exception on anything else; every mistake has a place and a printable line."""
    constitution, problems = examine_text(text, "t.yaml")
    lines = len(text.splitlines()) + 2
    for problem in problems:
        assert problem.file != "t.yaml" or 1 <= problem.line <= lines
        assert problem.column >= 1 and problem.code[0] in "CW" and str(problem).isprintable()
    errors = [problem for problem in problems if problem.severity == "error"]
    assert bool(errors) == (constitution is None)
    return constitution or InvalidConstitution(errors)


def mutated(rng: random.Random, seed: str) -> str:
    text = seed
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        until = at + rng.choice([0, 0, 1, 1, 3, rng.randrange(60)])
        copy = rng.randrange(len(seed))
        new = rng.choice([rng.choice(PIECES), "", seed[copy : copy + rng.randrange(80)], chr(rng.randrange(1, 0x250))])
        text = text[:at] + new + text[until:]
    return text


@pytest.mark.parametrize("batch", range(BATCHES))
def test_mutated_files_load_or_give_located_mistakes(batch):
    rng = random.Random(batch)
    kinds = {type(outcome(mutated(rng, rng.choice(SEEDS)))) for _ in range(MUTANTS // BATCHES)}
    assert kinds == {Constitution, InvalidConstitution}


def test_what_both_parsers_can_read_they_read_alike(monkeypatch):
    """libyaml takes a few texts that ruamel.yaml refuses, such as a block that begins with a line of spaces."""
    rng, read = random.Random(1), 0
    for _ in range(MUTANTS // 4):
        text = mutated(rng, rng.choice(SEEDS))
        fast = tree.read_tree(text, "t")
        with monkeypatch.context() as patch:
            patch.setattr(tree, "_LIBYAML", None)
            exact = tree.read_tree(text, "t")
        if exact.data is not None:
            assert repr(fast.data) == repr(exact.data), text
            assert (fast.keys, fast.problems) == (exact.keys, exact.problems), text
            read += 1
    assert read > MUTANTS // 40


def test_mutated_bytes_of_a_shipped_file_load_or_give_located_mistakes(tmp_path):
    rng, path = random.Random(0), tmp_path / "c.yaml"
    raw = builtin_text("household").encode()
    for _ in range(MUTANTS // 40):
        changed = bytearray(raw)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(changed))
            changed[at : at + rng.choice([0, 1, 1, 4])] = rng.randbytes(rng.randrange(3))
        path.write_bytes(changed)
        try:
            constitution, text = load_with_text(str(path))
        except InvalidConstitution as error:
            assert error.problems and all(p.file == str(path) and p.line >= 1 for p in error.problems)
        else:
            assert parse_constitution(text, "t").hash == constitution.hash


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.text(max_size=60))
@example("? ")
@example("!<")
@example("%TAG")
@example("a: |\x85")
def test_any_text_loads_or_gives_located_mistakes(text):
    outcome(text)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


def as_yaml(value: object) -> str:
    """JSON-like flow YAML, with YAML's own words for the numbers that JSON lacks."""
    if isinstance(value, float):
        return {"nan": ".nan", "inf": ".inf", "-inf": "-.inf"}.get(str(value), repr(value))
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{as_yaml(key)}: {as_yaml(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value)


PLACES = [(seed, at) for seed in SEEDS for at, line in enumerate(seed.splitlines()) if ":" in line]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_a_value_of_any_type_in_any_place_loads_or_gives_located_mistakes(place, value):
    seed, number = place
    lines = seed.splitlines()
    key = lines[number].split(":")[0]
    outcome("\n".join([*lines[:number], f"{key}: {as_yaml(value)}", *lines[number + 1 :]]))


INNER = re.compile(r"\b([a-z_]+): ([^,{}\[\]]+)(?=[,}])")
FLOWS = [(found.start(2), found.end(2)) for found in INNER.finditer(RICH)]


@settings(max_examples=EXAMPLES, deadline=None)
@given(st.sampled_from(FLOWS), VALUES)
def test_a_value_of_any_type_inside_a_flow_mapping_loads_or_gives_located_mistakes(span, value):
    outcome(RICH[: span[0]] + as_yaml(value) + RICH[span[1] :])


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_a_file_load_or_give_located_mistakes(tmp_path_factory, raw: bytes):
    path: Path = tmp_path_factory.mktemp("bytes") / "c.yaml"
    path.write_bytes(raw)
    with pytest.raises(InvalidConstitution):
        load_constitution(str(path))
