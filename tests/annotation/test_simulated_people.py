"""Simulated people who label the sandbox's pairs: the bad ones are found, and the good ones are left alone."""

from __future__ import annotations

import pytest

from rlhf_core.config.labelling import LabellingConfig
from tests.benchmarks.annotators import ALL_GOOD, ANSWERS, MIXED, crowd

CLEAR_TASK = LabellingConfig(good=0.9)
"""Gold is never in doubt, so that a good annotator is right more often than at the default."""


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_all_bad_annotators_are_found_within_forty_answers_and_no_good_one_is_flagged(seed: int):
    found = crowd(seed, MIXED, CLEAR_TASK)
    assert len(found) == 20 and all(each.answers <= ANSWERS for each in found.values())
    bad = {name: each for name, each in found.items() if not name.startswith("good")}
    assert [name for name, each in bad.items() if each.flag is None] == []
    good = [each for name, each in found.items() if name.startswith("good")]
    assert sum(each.flag is not None for each in good) <= 1
    assert min(each.skill for each in good) > max(each.skill for each in bad.values())
    assert sum(each.flag is not None for each in crowd(seed, ALL_GOOD, CLEAR_TASK).values()) <= 1
