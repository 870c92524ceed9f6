"""What the page on security names as proof is there."""

import re

from tests.docs.settings import ROOT

PAGE = (ROOT / "docs/security.md").read_text()


def test_every_test_and_file_that_the_page_names_exists():
    texts = [file.read_text() for file in (ROOT / "tests").rglob("test_*.py")]
    tests = {name for text in texts for name in re.findall(r"def (test_\w+)", text)}
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 20 and named <= tests, named - tests
    places = set(re.findall(r"`((?:services|rlhf_core)/[\w./]+)`", PAGE))
    assert len(places) > 10 and all((ROOT / place).exists() for place in places)


def test_each_item_of_the_page_is_met_by_something_or_says_who_is_left_to_it():
    rows = [line.split("|")[1:-1] for line in PAGE.splitlines() if re.match(r"\| \d", line)]
    assert len(rows) > 35
    for item, how, where in rows:
        assert where.strip() or "there are none" in how or "left to" in how, item
