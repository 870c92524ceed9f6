import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import (
    bootstrap_means,
    cluster_bootstrap,
    difference_estimate,
    mean_estimate,
    prompt_means,
    ranks,
    spearman,
    wilson,
)


def test_each_prompt_counts_once_however_many_samples_it_has():
    means = prompt_means([1, 3, 10, 10, 10, 10], ["p", "p", "q", "q", "q", "q"], ["p", "q"])
    assert means.tolist() == [2, 10]
    assert mean_estimate(means).value == 6


def test_a_prompt_without_a_value_is_named():
    with pytest.raises(InvalidInput, match="'q'"):
        prompt_means([1.0], ["p"], ["p", "q"])


def test_the_interval_of_a_mean_matches_the_normal_one():
    values = np.random.default_rng(0).normal(5, 2, 400)
    estimate = mean_estimate(values, resamples=4000)
    half = 1.96 * values.std() / 20
    assert estimate.n == 400
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.02)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.02)


def test_a_paired_difference_cancels_what_prompts_share():
    prompts = np.random.default_rng(0).normal(0, 10, 50)
    estimate = difference_estimate(prompts, prompts + 1)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((1, 1, 1))


def test_columns_are_resampled_together():
    table = np.stack([np.arange(6.0), 2 * np.arange(6.0)], axis=1)
    means = bootstrap_means(table, 100, seed=3)
    assert means.shape == (100, 2)
    assert means[:, 1] == pytest.approx(2 * means[:, 0])


def test_the_same_seed_gives_the_same_interval():
    assert mean_estimate([1, 2, 5], seed=1) == mean_estimate([1, 2, 5], seed=1)


def test_no_prompts_is_an_error():
    with pytest.raises(InvalidInput, match="no prompts"):
        cluster_bootstrap(np.zeros((0, 1)), lambda means: means[:, 0])


def test_wilson_matches_the_published_example():
    # Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611.
    estimate = wilson(81, 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    estimate = wilson(0, 20)
    assert (estimate.low, estimate.high) == pytest.approx((0, 0.1611), abs=5e-5)


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_stays_inside_the_unit_interval_and_around_its_value(pair):
    estimate = wilson(*pair)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1


def test_ties_share_their_mean_rank():
    assert ranks([10, 20, 10, 30]).tolist() == [1.5, 3, 1.5, 4]


def test_spearman_by_hand():
    assert spearman([1, 2, 3, 4, 5], [1, 4, 9, 16, 25]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4, 5], [5, 4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 3, 4, 5], [1, 2, 3, 5, 4]) == pytest.approx(0.9)  # 1 - 6*2 / (5*24)
    assert spearman([1, 2, 3], [7, 7, 7]) == 0
