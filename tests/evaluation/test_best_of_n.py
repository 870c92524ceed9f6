"""Best-of-n: by hand, against every possible draw, and as a test that reward models pass or fail."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.best_of_n import best_of_n, best_of_n_curve, best_of_n_kl, doublings


def test_kl_by_hand():
    assert best_of_n_kl(1) == 0
    assert best_of_n_kl(2) == pytest.approx(math.log(2) - 0.5)
    assert best_of_n_kl(16) == pytest.approx(1.835, abs=1e-3)


def test_the_best_of_two_of_three_by_hand():
    # By proxy the worths are 5, 1, 9. Pairs: (5,1) -> 1, (5,9) -> 9, (1,9) -> 9: the mean is 19/3.
    found = best_of_n([[0.1, 0.2, 0.3]], [[5.0, 1.0, 9.0]], (1, 2, 3))
    assert found.tolist() == [pytest.approx([5, 19 / 3, 9])]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-9, 9)), min_size=2, max_size=6), st.data())
@settings(max_examples=60, deadline=None)
def test_the_estimate_is_the_mean_over_all_draws_ties_broken_evenly(samples, data):
    n = data.draw(st.integers(1, len(samples)))
    draws = []
    for drawn in itertools.combinations(samples, n):
        best = max(score for score, _ in drawn)
        draws.append(np.mean([worth for score, worth in drawn if score == best]))
    scores, worths = zip(*samples, strict=True)
    # A tie's members stand in for one another, so their own worths average out over all draws.
    assert best_of_n([scores], [worths], (n,))[0, 0] == pytest.approx(float(np.mean(draws)))


def test_more_than_there_are_cannot_be_chosen_from():
    with pytest.raises(InvalidInput, match="best of 4 of 3 samples; allowed: 1 to 3"):
        best_of_n([[1, 2, 3]], [[1, 2, 3]], (4,))


def test_doublings_stop_at_the_number_of_samples():
    assert doublings(1) == (1,) and doublings(16) == (1, 2, 4, 8, 16) and doublings(20) == (1, 2, 4, 8, 16)


def judges(honest: float, seed: int = 0):
    """Scores (200, 16): the auditor sees the truth with noise, the proxy a mix of truth and a fault of its own."""
    rng = np.random.default_rng(seed)
    truth, fault, noise = (rng.normal(size=(200, 16)) for _ in range(3))
    return {"proxy": honest * truth + (1 - honest) * fault, "auditor": truth + 0.5 * noise, "gold": truth}


def test_a_reward_model_that_sees_the_truth_is_accepted_and_gains_what_order_statistics_say():
    found = best_of_n_curve("helpful", judges(1.0))
    assert found.n == (1, 2, 4, 8, 16) and found.accepted is True
    # The mean of the largest of n standard normals: 0.564, 1.029, 1.424, 1.766 (tables of order statistics).
    gains = [estimate.value for estimate in found.gains["gold"]]
    assert gains == pytest.approx([0, 0.564, 1.029, 1.424, 1.766], abs=0.08)
    assert set(found.fits) == {"proxy", "auditor", "gold"}


def test_a_reward_model_that_sees_only_its_own_fault_gains_by_itself_and_not_by_its_auditor():
    found = best_of_n_curve("helpful", judges(0.0))
    assert found.accepted is False
    assert found.gains["proxy"][-1].low > 1 and abs(found.gains["gold"][-1].value) < 0.2


def test_without_an_auditor_nothing_is_accepted_or_refused():
    assert best_of_n_curve("helpful", {"proxy": np.eye(4)}).accepted is None
