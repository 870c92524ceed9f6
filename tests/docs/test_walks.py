"""The walks through the code name files that are there, and what they say is in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STEP = re.compile(r"^\d+\. `([\w/]+\.py)`.*?(?=^\d+\. |^\s*$|\Z)", re.MULTILINE | re.DOTALL)
TEXT = (ROOT / "docs/walks.md").read_text()


def files(text: str) -> list[str]:
    """What stands in code and looks like a path from the project's folder."""
    return re.findall(r"`((?:rlhf_core|services|proto|tests)/[\w/]+(?:\.py)?)`", text)


def test_every_file_on_a_walk_is_there():
    named = files(TEXT)
    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("step", [found[0] for found in STEP.finditer(TEXT)], ids=lambda step: step.split("`")[1])
def test_what_a_step_names_is_in_its_files(step: str):
    places = [ROOT / name for name in files(step)]
    beside = [place.parent / name for place in places for name in re.findall(r"`(\w+\.py)`", step)]
    assert all(any(one.name == name and one.exists() for one in beside) for name in re.findall(r"`(\w+\.py)`", step))
    source = "".join(place.read_text() for place in (*places, *beside) if place.is_file())
    for name in re.findall(r"`(\w+)`", step):
        assert re.search(rf"^(class|def|    def) {name}\b", source, re.MULTILINE), name
