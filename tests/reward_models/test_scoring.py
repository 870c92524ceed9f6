"""From members to a score: ensembles, steps and length, by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.reward_models.ensemble import Scoring, ensemble_scores, fitted, in_score_units, pool_steps

MEMBERS = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
LENGTHS = torch.tensor([10.0, 20.0])
SCALE = {"member_mean": (0.0, 1.0), "member_sd": (1.0, 2.0)}


def score(**settings) -> list[float]:
    return ensemble_scores(MEMBERS, LENGTHS, Scoring(**settings)).mean(1).tolist()


def test_mean_leaves_the_members_as_they_are():
    assert torch.equal(ensemble_scores(MEMBERS, LENGTHS, Scoring()), MEMBERS)


def test_the_worst_case_is_the_least_member_in_its_own_unit():
    """In units of their own the members say 1 and 1, then 2 and 0.5."""
    assert score(aggregate="wco", **SCALE) == [1.0, 0.5]


def test_uwo_takes_off_the_members_variance():
    """Of 2 and 0.5 the mean is 1.25 and the variance 0.5625."""
    assert score(aggregate="uwo", uwo_coef=0.1, **SCALE) == pytest.approx([1.0, 1.25 - 0.05625])


def test_the_spread_is_that_of_the_members_whatever_the_score():
    shifted = ensemble_scores(MEMBERS, LENGTHS, Scoring(aggregate="wco", **SCALE))
    assert shifted.std(1, correction=0).tolist() == pytest.approx([0.0, 0.75])


@given(st.lists(st.lists(st.floats(-50, 50), min_size=3, max_size=3), min_size=1, max_size=5), st.floats(0, 2))
def test_a_cautious_ensemble_never_scores_above_the_mean_of_its_members(rows, coef):
    members, lengths = torch.tensor(rows), torch.zeros(len(rows))
    scale = {"member_mean": (0.0,) * 3, "member_sd": (1.0,) * 3}
    mean = members.mean(1) + 1e-3
    for how in ("uwo", "wco"):
        cautious = ensemble_scores(members, lengths, Scoring(aggregate=how, uwo_coef=coef, **scale)).mean(1)
        assert (cautious <= mean).all()


def test_length_that_pays_is_taken_off():
    """Scores that are half the length, and 1 for the odd replies, keep only what is not length."""
    lengths = torch.tensor([2.0, 4.0, 6.0, 8.0])
    extra = torch.tensor([1.0, -1.0, -1.0, 1.0])
    members = (lengths / 2 + extra)[:, None].repeat(1, 2)
    scoring = fitted(Scoring(), members, lengths, correct_length=True)
    assert scoring.length_slope == pytest.approx(0.5) and scoring.mean_length == 5.0
    left = ensemble_scores(members, lengths, scoring).mean(1)
    assert left.tolist() == pytest.approx([3.5, 1.5, 1.5, 3.5])
    assert scoring.member_mean == pytest.approx((2.5, 2.5)) and scoring.member_sd == pytest.approx((1.0, 1.0))


def test_without_correction_only_the_members_scale_is_fitted():
    scoring = fitted(Scoring(), MEMBERS, LENGTHS, correct_length=False)
    assert (scoring.length_slope, scoring.member_mean, scoring.member_sd) == (0.0, (1.5, 2.5), (0.5, 0.5))


@pytest.mark.parametrize(
    ("pool", "by_hand"),
    [
        ("min", [[1.0], [5.0]]),
        ("mean", [[2.0], [5.0]]),
        ("sum", [[6.0], [5.0]]),
        ("last", [[3.0], [5.0]]),
    ],
)
def test_a_reply_is_scored_by_its_steps(pool, by_hand):
    assert pool_steps(torch.tensor([[2.0], [1.0], [3.0], [5.0]]), [3, 1], pool).tolist() == by_hand


def test_by_the_sum_a_reply_of_fewer_good_steps_is_worth_less():
    """Two members, each with a sum of its own: 1, 1 and 1 against 1 and 1, and 2, -3 and 4 against 2 and -3."""
    steps = torch.tensor([[1.0, 2.0], [1.0, -3.0], [1.0, 4.0], [1.0, 2.0], [1.0, -3.0]])
    assert pool_steps(steps, [3, 2], "sum").tolist() == [[3.0, 3.0], [2.0, -1.0]]


@pytest.mark.parametrize("pool", ["min", "sum"])
def test_scores_of_whole_replies_stay(pool):
    assert pool_steps(MEMBERS, [1, 1], pool) is MEMBERS


def test_scores_of_steps_have_the_unit_of_the_replies_that_they_add_up_to():
    """Two lines of one reply, two members that spread by 1 and 2: what a line adds to the members' z."""
    steps, scoring = torch.tensor([[1.0, 4.0], [2.0, -2.0]]), Scoring(aggregate="uwo", uwo_coef=0.0, **SCALE)
    parts = in_score_units(steps, scoring)
    assert parts.tolist() == [[1.0, 2.0], [2.0, -1.0]]
    reply = ensemble_scores(pool_steps(steps, [2], "sum"), torch.tensor([5.0]), scoring)
    # Without the first line z is lower by what it adds: 1 and 2, so 1.5 on the mean.
    rest = ensemble_scores(pool_steps(steps[1:], [1], "sum"), torch.tensor([5.0]), scoring)
    assert (reply - rest).mean().item() == pytest.approx(parts[0].mean().item()) == 1.5
    assert in_score_units(steps, Scoring()) is steps
