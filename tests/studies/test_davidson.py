"""Strengths of policies: against closed forms, against what the maximum must satisfy, and by drawing from the model."""

import math

import numpy as np
import pytest

from rlhf_core.studies.davidson import Games, fit, resample_prompts


def games(outcomes: list[tuple[int, int, str]], policies: int, covariate: list[float] | None = None) -> Games:
    rows = {"a": (1, 0, 0), "tie": (0, 1, 0), "b": (0, 0, 1)}
    return Games(
        a=np.array([first for first, _, _ in outcomes]),
        b=np.array([second for _, second, _ in outcomes]),
        outcome=np.array([rows[how] for _, _, how in outcomes], dtype=float),
        covariate=np.array(covariate or [0.0] * len(outcomes)),
        policies=policies,
    )


def test_two_policies_have_the_strength_and_the_tie_odds_that_their_counts_say():
    """Three outcomes and two parameters: the model gives back the shares 30 : 20 : 10 of a pair's outcomes."""
    played = games([(1, 0, "a")] * 3000 + [(1, 0, "tie")] * 2000 + [(1, 0, "b")] * 1000, 2)
    found = fit(played)
    assert found.policy[0] == 0
    assert found.policy[1] == pytest.approx(math.log(3), abs=1e-3)
    assert found.log_tie == pytest.approx(math.log(20 / math.sqrt(30 * 10)), abs=1e-3)


def test_strengths_are_those_that_an_optimiser_of_its_own_finds():
    """By scipy's BFGS on the likelihood written out, prior included, to a gradient of 1e-10."""
    share = [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]
    share += [[0, 0.5, 0.5], [0, 0, 1], [1, 0, 0], [0, 0, 1], [0.5, 0, 0.5]]
    played = Games(
        a=np.array([0, 1, 2, 0, 1, 2, 0, 2, 1, 0]),
        b=np.array([1, 2, 0, 2, 0, 1, 1, 1, 2, 2]),
        outcome=np.array(share, dtype=float),
        covariate=np.array([0.2, -0.1, 0.3, 0, 0.5, -0.4, 0.1, 0, -0.2, 0.25]),
        policies=3,
    )
    found = fit(played, np.array([[1, 2, 1, 0, 1, 3, 1, 1, 2, 1]], dtype=float))
    assert found.policy[0] == pytest.approx([0, -0.1498687, -0.1003359], abs=1e-6)
    assert (found.covariate[0], found.log_tie[0]) == pytest.approx((3.0293457, -0.6555929), abs=1e-6)


def test_which_reply_is_called_a_makes_no_difference():
    one = [(1, 0, "a"), (1, 0, "a"), (1, 0, "b"), (1, 0, "tie")]
    turned = [(b, a, {"a": "b", "b": "a"}.get(how, how)) for a, b, how in one]
    length = [0.2, -0.1, 0.3, 0.0]
    found, other = fit(games(one, 2, length)), fit(games(turned, 2, [-x for x in length]))
    assert np.allclose(found.policy, other.policy) and np.allclose(found.covariate, other.covariate)


def test_at_the_maximum_every_policy_is_expected_to_win_what_it_won():
    """The score equations: won and half the ties, of each policy; ties in all; and the covariate's sum."""
    rng = np.random.default_rng(3)
    played = [
        (int(a), int(b), str(how))
        for a, b, how in zip(
            rng.integers(3, size=400), rng.integers(3, size=400), rng.choice(["a", "tie", "b"], 400), strict=True
        )
        if a != b
    ]
    length = rng.uniform(-1, 1, len(played)).tolist()
    table, found = games(played, 3, length), fit(games(played, 3, length))
    lead = found.policy[table.a] - found.policy[table.b] + found.covariate * table.covariate
    odds = np.exp(np.stack([lead / 2, np.full_like(lead, found.log_tie), -lead / 2], 1))
    away = table.outcome - odds / odds.sum(1, keepdims=True)
    worth = away @ [1, 0.5, 0]
    for policy in range(3):
        won = worth[table.a == policy].sum() - worth[table.b == policy].sum()
        assert won == pytest.approx(0, abs=0.03), "the weak prior leaves 0.01 of the strength"
    assert away[:, 1].sum() == pytest.approx(0, abs=0.03)
    assert worth @ table.covariate == pytest.approx(0, abs=0.03)


def test_a_policy_that_only_writes_longer_is_not_stronger_once_length_is_known():
    rng = np.random.default_rng(1)
    longer = rng.uniform(0, 0.5, 2000)
    wins = rng.random(2000) < 1 / (1 + np.exp(-4 * longer))
    played = [(1, 0, "a" if won else "b") for won in wins]
    plain, known = fit(games(played, 2)), fit(games(played, 2, longer.tolist()))
    assert plain.policy[1] > 0.7 and abs(known.policy[1]) < 0.35
    assert known.covariate == pytest.approx(4, abs=0.8)


def test_whoever_wins_everything_stays_finite():
    found = fit(games([(0, 1, "b")] * 40, 2))
    assert 4 < found.policy[1] < 40


def test_resampled_prompts_keep_their_pairs_together_and_give_intervals_that_hold():
    """Of 20 studies whose policies differ by 0.8, intervals of 95 % hold it in 16 or more (fewer in 1 case of 400)."""
    rng = np.random.default_rng(5)
    held = 0
    for _ in range(20):
        odds = np.exp(np.array([0.4, 0.0, -0.4]))
        drawn = rng.choice(["a", "tie", "b"], 150, p=odds / odds.sum())
        played = games([(1, 0, str(how)) for how in drawn], 2)
        prompts = np.repeat(np.arange(75), 2)
        weights = resample_prompts(prompts, 100, seed=int(rng.integers(10**6)))
        assert (weights[:, ::2] == weights[:, 1::2]).all() and (weights.sum(1) == 150).all()
        low, high = np.percentile(fit(played, weights).policy[:, 1], [2.5, 97.5])
        held += low <= 0.8 <= high
    assert held >= 16
