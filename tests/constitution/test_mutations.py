"""Whatever the text, a constitution or located mistakes come back, never another exception."""

import json
import random
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf_core.constitution.load import load_constitution, parse_constitution
from rlhf_core.constitution.problems import InvalidConstitution
from rlhf_core.constitution.schema import Constitution

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
PIECES = [
    *(": ", "- ", "? ", ", ", "{", "}", "[", "]", "|", ">", "'", '"', "#", "@", "`", "\\", "~", "&", "*", "!", "  "),
    *("\n", "\r", "\t", "\x85", "\u2028", "\x00", "\ufeff", "\ud800", "\U0001f600", '"\\ud800"', "---\n", "...\n"),
    *("&a ", "*a", "<<: ", "!!str ", "!x ", "!<tag:x>", "%YAML 1.1\n", "%TAG ! x\n", "|9\n"),
    *(".nan", "-.inf", "1e999", "9" * 40, "true", "0x1F"),
]


def outcome(text: str) -> Constitution | InvalidConstitution:
    """Fails with the original exception on anything else; every mistake has a place and a printable line."""
    try:
        return parse_constitution(text, "t.yaml")
    except InvalidConstitution as error:
        lines = len(text.splitlines()) + 2
        assert error.problems
        for problem in error.problems:
            assert 1 <= problem.line <= lines and problem.column >= 1
            assert problem.code.startswith("C0") and str(problem).isprintable()
        return error


def mutated(rng: random.Random) -> str:
    text = SEED
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        until = at + rng.choice([0, 0, 1, 1, 3, rng.randrange(60)])
        copy = rng.randrange(len(SEED))
        new = rng.choice([rng.choice(PIECES), "", SEED[copy : copy + rng.randrange(80)], chr(rng.randrange(1, 0x250))])
        text = text[:at] + new + text[until:]
    return text


@pytest.mark.parametrize("seed", range(8))
def test_mutated_files_load_or_give_located_mistakes(seed):
    rng = random.Random(seed)
    kinds = {type(outcome(mutated(rng))) for _ in range(200)}
    assert kinds == {Constitution, InvalidConstitution}


@settings(max_examples=300, deadline=None)
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


LINES = SEED.splitlines()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([i for i, line in enumerate(LINES) if ": " in line]), VALUES)
def test_a_value_of_any_type_in_any_place_loads_or_gives_located_mistakes(number, value):
    key = LINES[number].split(": ")[0]
    outcome("\n".join([*LINES[:number], f"{key}: {as_yaml(value)}", *LINES[number + 1 :]]))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_a_file_load_or_give_located_mistakes(tmp_path_factory, raw: bytes):
    path: Path = tmp_path_factory.mktemp("bytes") / "c.yaml"
    path.write_bytes(raw)
    with pytest.raises(InvalidConstitution):
        load_constitution(str(path))
