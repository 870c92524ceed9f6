"""Intervals of shares whose cases are not independent, by hand."""

import pytest

from rlhf_core.stats import clustered_interval, wilson_interval


def test_cases_of_their_own_are_independent():
    assert clustered_interval([(1, 1), (0, 1), (1, 1)]) == pytest.approx(wilson_interval(2, 3))


def test_groups_that_agree_within_count_for_little_more_than_one_case_each():
    """Share 1/2; variance between groups (1 + 1) 2 / 16 = 1/4, alone 1/4 / 3: a design effect of 3, so n is 4/3."""
    assert clustered_interval([(2, 2), (0, 2)]) == pytest.approx(wilson_interval(2 / 3, 4 / 3))


def test_groups_that_differ_no_more_than_cases_do_change_nothing():
    assert clustered_interval([(1, 2), (1, 2)]) == pytest.approx(wilson_interval(2, 4))


def test_where_all_cases_agree_each_group_is_one():
    assert clustered_interval([(2, 2), (3, 3)]) == wilson_interval(2, 2)
    assert clustered_interval([(0, 9)]) == wilson_interval(0, 1)
