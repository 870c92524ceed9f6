"""Paired tests. Binomial tails by hand: 2 * (1 + 10) / 2**10 = 0.021484375 for 1 against 9."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.paired import agreement, mcnemar_exact


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [(0, 0, 1.0), (1, 9, 0.021484375), (9, 1, 0.021484375), (0, 5, 0.0625), (0, 6, 0.03125), (4, 4, 1.0)],
)
def test_the_exact_p_is_the_binomial_tail_doubled(first: int, second: int, p: float):
    assert mcnemar_exact(first, second) == p


@given(st.integers(0, 500), st.integers(0, 500))
def test_p_is_a_probability_and_symmetric(first: int, second: int):
    assert 0 <= mcnemar_exact(first, second) == mcnemar_exact(second, first) <= 1


def test_more_discordance_one_way_is_never_likelier_by_chance():
    tails = [mcnemar_exact(2, second) for second in range(2, 60)]
    assert tails == sorted(tails, reverse=True)


def test_a_negative_count_is_refused():
    with pytest.raises(InvalidInput, match="-1"):
        mcnemar_exact(-1, 3)


def test_only_items_that_both_decide_count():
    found = agreement("x", "y", [(1, 1), (1, -1), (0, 1), (-1, 0), (-1, -1)])
    assert found.share is not None and (found.n, found.share.value) == (3, pytest.approx(2 / 3))
    assert found.finding == "", "three items say nothing yet"


@pytest.mark.parametrize(("same", "finding"), [(20, "redundant"), (19, ""), (8, ""), (7, "conflicting")])
def test_redundant_is_above_095_and_conflicting_below_04(same: int, finding: str):
    assert agreement("x", "y", [(1, 1)] * same + [(1, -1)] * (20 - same)).finding == finding


def test_raters_that_share_no_item_have_no_share():
    assert agreement("x", "y", [(0, 1), (1, 0)]).share is None
