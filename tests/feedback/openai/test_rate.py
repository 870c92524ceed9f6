"""The pace of requests, by a clock that the test sets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.openai.rate_limit import LONGEST_WAIT, Pace, wait_before


def test_requests_are_spread_evenly_over_the_minute():
    pace = Pace(requests_per_minute=30, tokens_per_minute=None)
    assert [pace.reserve(10, now=100.0) for _ in range(3)] == [0.0, 2.0, 4.0]
    assert pace.reserve(10, now=200.0) == 0.0


def test_a_long_request_holds_the_next_one_back():
    pace = Pace(requests_per_minute=None, tokens_per_minute=6000)
    assert pace.reserve(500, now=50.0) == 0.0
    # 500 tokens at 100 a second.
    assert pace.reserve(100, now=50.0) == pytest.approx(5.0)
    pace.correct(-100)
    assert pace.reserve(100, now=50.0) == pytest.approx(5.0)


def test_without_limits_nobody_waits():
    pace = Pace(None, None)
    assert [pace.reserve(10**6, now=1.0) for _ in range(3)] == [0.0, 0.0, 0.0]


@given(st.integers(1, 60), st.lists(st.floats(0, 30), min_size=1, max_size=40))
def test_no_minute_sees_more_requests_than_allowed(limit: int, gaps: list[float]):
    pace, now, sent = Pace(limit, None), 1000.0, []
    for gap in gaps:
        now += gap
        sent.append(now + pace.reserve(1, now=now))
    for start in sent:
        assert sum(start <= time < start + 60 - 1e-6 for time in sent) <= limit


def test_retry_after_is_a_number_or_a_date_and_goes_before_our_own_wait():
    now = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
    assert wait_before(1, "7", now) == 7.0
    assert wait_before(1, "Thu, 01 Jan 2026 12:00:30 GMT", now) == 30.0
    assert wait_before(1, "Thu, 01 Jan 2026 11:00:00 GMT", now) == 0.0


@given(st.integers(1, 40), st.one_of(st.none(), st.just("soon"), st.just("")))
def test_our_own_wait_grows_and_is_never_the_same_for_all(retry: int, header: str | None):
    longest = min(LONGEST_WAIT, 0.5 * 2 ** (retry - 1))
    waits = {wait_before(retry, header) for _ in range(20)}
    assert all(longest / 2 <= wait <= longest for wait in waits)
    assert len(waits) > 1
