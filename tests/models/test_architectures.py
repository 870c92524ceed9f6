"""docs/models.md says which architectures were tried and what the checks at load said of each; this tries them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rlhf_core.errors import InvalidInput
from tests.models.architectures import ARCHITECTURES, load

PAGE = (Path(__file__).parents[2] / "docs" / "models.md").read_text()
TOLD = dict(re.findall(r"^\| `(\w+)` \| (.+?) \|$", PAGE, re.MULTILINE))


def said(kind: str, folder: Path) -> str:
    """What the table says of a model, in its words."""
    try:
        backbone = load(kind, folder)
    except InvalidInput as refusal:
        return f"refused: {re.split(': | [(]', str(refusal).partition('cannot be used: ')[2])[0]}"
    window = f", looks back {backbone.window} tokens" if backbone.window else ""
    return f"accepted{window}{'' if backbone.shares_beginnings else ', reads each row by itself'}"


def test_the_table_names_what_is_tried():
    assert list(TOLD) == sorted(ARCHITECTURES)
    assert sum(told.startswith("accepted") for told in TOLD.values()) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(ARCHITECTURES))
def test_the_checks_say_of_an_architecture_what_the_table_says(kind: str, tmp_path: Path):
    assert said(kind, tmp_path) == TOLD[kind]
