"""A confidence sequence by hand, and under somebody who looks after every label."""

import math

import numpy as np
import pytest

from rlhf_core.stats import wilson_interval
from rlhf_core.studies.sequential import mean_sequence

LABELS = 150


def test_ten_wins_in_a_row_decide_and_nine_do_not():
    """The first bets are more than the limit allows, so that each win multiplies the half of the capital that bets on
    a by 1.5 where the mean is a half: 0.5 x 1.5^n reaches 1 / 0.05 with n = 10."""
    assert 0.5 * 1.5**9 < 20 < 0.5 * 1.5**10
    assert mean_sequence([1.0] * 9, 0.05).decided is None
    assert mean_sequence([1.0] * 12, 0.05).decided == 10
    assert mean_sequence([0.0] * 12, 0.05).decided == 10


def test_ties_decide_nothing_and_nothing_is_known_before_the_first_label():
    even = mean_sequence([0.5] * 200, 0.05)
    assert even.decided is None
    assert (even.low[0], even.high[0]) == (0, 1)
    assert 0.4 < even.low[-1] < 0.5 < even.high[-1] < 0.6
    assert (np.diff(even.low) >= 0).all() and (np.diff(even.high) <= 0).all()


def test_values_that_no_mean_explains_leave_the_last_interval_and_not_every_mean():
    """Four hundred that are 0 and then as many that are 1 rule out each mean in turn."""
    found = mean_sequence([0.0] * 400 + [1.0] * 400, 0.05)
    assert (np.diff(found.low) >= 0).all() and (np.diff(found.high) <= 0).all()
    assert found.high[-1] < 0.5


def test_the_bounds_are_those_of_the_capital_worked_out_value_by_value():
    values, alpha = [1.0, 0.5, 1.0, 1.0, 0.0, 1.0] * 6, 0.1
    survivors = []
    for m in np.arange(401) / 400:
        up = down = 0.5
        total = spread = 0.0
        variance, alive = 0.25, True
        for t, value in enumerate(values, 1):
            bet = math.sqrt(2 * math.log(2 / alpha) / (variance * t * math.log(t + 1)))
            up *= 1 + min(bet, 0.5 / m if m else bet) * (value - m)
            down *= 1 - min(bet, 0.5 / (1 - m) if m < 1 else bet) * (value - m)
            alive = alive and max(up, down) < 1 / alpha
            total += value
            spread += (value - (0.5 + total) / (t + 1)) ** 2
            variance = (0.25 + spread) / (t + 1)
        if alive:
            survivors.append(m)
    found = mean_sequence(values, alpha)
    assert found.low[-1] == pytest.approx(survivors[0] - 1 / 400)
    assert found.high[-1] == pytest.approx(survivors[-1] + 1 / 400)


def test_looking_after_every_label_errs_no_more_often_than_declared():
    """Of 300 studies of two equal policies; the same look at an interval made for one look errs many times as often."""
    rng = np.random.default_rng(0)
    coins = rng.choice([0.0, 0.5, 1.0], (300, LABELS), p=[0.4, 0.2, 0.4])
    wrong = sum(mean_sequence(one, 0.05).decided is not None for one in coins)
    peeking = 0
    for one in coins:
        intervals = [wilson_interval(float(one[:n].sum()), n) for n in range(10, LABELS + 1, 5)]
        peeking += any(not low <= 0.5 <= high for low, high in intervals)
    assert wrong <= 0.05 * len(coins) < 0.12 * len(coins) < peeking


def test_a_real_difference_is_found_and_the_interval_holds_it():
    rng = np.random.default_rng(2)
    found = [mean_sequence((rng.random(400) < 0.7).astype(float), 0.05) for _ in range(30)]
    assert sum(one.decided is not None for one in found) >= 27
    assert sum(one.low[-1] <= 0.7 <= one.high[-1] for one in found) >= 27
