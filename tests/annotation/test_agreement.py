"""Krippendorff's alpha against published values and another implementation, its interval, and where it is undefined."""

from __future__ import annotations

import krippendorff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.annotation.agreement import (
    NOT_SHARED,
    UNANIMOUS,
    Level,
    krippendorff_alpha,
    measure_agreement,
    undefined,
    value_counts,
)
from rlhf_core.errors import InvalidInput

N = np.nan
PUBLISHED = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
    [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
]
"""Krippendorff 2011, section D: four observers, twelve units, five values."""


def test_alpha_is_the_published_one_of_krippendorffs_own_example():
    counts = value_counts(PUBLISHED)
    nominal, ordinal = krippendorff_alpha(counts, "nominal"), krippendorff_alpha(counts, "ordinal")
    assert nominal == pytest.approx(0.743, abs=5e-4)
    assert ordinal == pytest.approx(0.815, abs=5e-4)


def test_alpha_of_two_people_and_four_items_by_hand():
    """Coincidences 4, 2, 1 and 1 of (1, 1), (2, 2), (1, 2), (2, 1); five answers are 1 and three are 2."""
    ratings = [[1, 1, 2, 2], [1, 1, 2, 1]]
    counts = value_counts(ratings)
    assert counts.tolist() == [[2, 0], [2, 0], [0, 2], [1, 1]]
    assert krippendorff_alpha(counts, "nominal") == pytest.approx(1 - 7 * 2 / (2 * 5 * 3))


@given(
    st.lists(st.lists(st.sampled_from([N, 1.0, 2.0, 3.0, 5.0]), min_size=6, max_size=6), min_size=2, max_size=5),
    st.sampled_from(["nominal", "ordinal"]),
)
def test_alpha_is_that_of_the_krippendorff_package(ratings: list[list[float]], level: Level):
    counts = value_counts(ratings)
    if undefined(counts):
        assert krippendorff_alpha(counts, level) is None
        return
    expected = krippendorff.alpha(reliability_data=np.array(ratings), level_of_measurement=level)
    assert krippendorff_alpha(counts, level) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("ratings", "why"),
    [([[1, N], [N, 2]], NOT_SHARED), ([[1, 1], [1, 1]], UNANIMOUS), ([[N], [N]], NOT_SHARED), ([[1, 2]], NOT_SHARED)],
)
def test_alpha_is_undefined_where_nothing_is_shared_and_where_all_say_the_same(ratings: list[list[float]], why: str):
    found = measure_agreement(value_counts(ratings), "ordinal")
    assert (found.value, found.low, found.high, found.undefined) == (None, None, None, why)


def test_the_interval_is_that_of_items_drawn_one_by_one():
    rng = np.random.default_rng(5)
    truth = rng.integers(3, size=60)
    ratings = np.where(rng.random((3, 60)) < 0.7, truth, rng.integers(3, size=(3, 60))).astype(float)
    counts = value_counts(ratings)
    found = measure_agreement(counts, "ordinal", resamples=4000)
    drawn = [krippendorff_alpha(counts[rng.integers(60, size=60)], "ordinal") for _ in range(1500)]
    low, high = np.percentile(np.array(drawn, dtype=float), [2.5, 97.5])
    assert (found.low, found.high) == (pytest.approx(low, abs=0.03), pytest.approx(high, abs=0.03))
    assert found.value == krippendorff_alpha(counts, "ordinal") and (found.items, found.answers) == (60, 180)
    assert found == measure_agreement(counts, "ordinal", resamples=4000)


def test_there_is_no_interval_where_alpha_is_often_undefined_by_chance():
    """Without the one item on which somebody differs all are the same, and a third of the draws are without it."""
    found = measure_agreement(value_counts([[1, 1, 1, 1, 1, 1, 2], [1, 1, 1, 1, 1, 1, 1]]), "nominal")
    assert found.value is not None and (found.low, found.high) == (None, None)


def test_ratings_are_a_table():
    with pytest.raises(InvalidInput, match="2, people by items"):
        value_counts([1, 2])
