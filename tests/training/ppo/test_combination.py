"""Ways to combine objectives: by hand, by their properties, and through a run's configuration."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf_core.config.scalarization import DialConfig, check_dial, weights_at
from rlhf_core.errors import InvalidInput
from rlhf_core.records.models import NormPack
from rlhf_core.training.ppo.combination import Combination
from rlhf_core.training.ppo.scalarization import (
    LEAST_MULTIPLIER,
    constrained_coefficients,
    learned_multipliers,
    log_sigmoid_scores,
    normalised_streams,
    worst_case_scores,
)
from tests.records import norm_pack

ALL = torch.tensor([True, True, True])
COLUMN = st.lists(st.floats(-4, 4), min_size=3, max_size=3)
BOTH = {"helpful": 1.0, "harmless": 1.0}


def pack(correlation: float = 0.0) -> NormPack:
    """helpful is scored 10 +- 2, harmless -1 +- 0.5; the 85 % quantiles lie 1 and 2 sd above the means."""
    return norm_pack(
        mean=(10.0, -1.0),
        sd=(2.0, 0.5),
        quantiles=((0.0, 0.0, 10.0, 12.0, 13.0, 14.0), (0.0, 0.0, -1.0, 0.0, 1.0, 2.0)),
        correlation=((1.0, correlation), (correlation, 1.0)),
    )


def test_log_sigmoid_by_hand():
    z = torch.tensor([[0.0, 2.0], [1.0, 1.0]])
    scores = log_sigmoid_scores(z, torch.tensor([0.0, 1.0]), 2.0)
    # log s(0) = -log 2; log s(2/2) = -log(1 + 1/e); at the anchor -log 2 again.
    expected = [[-math.log(2), -math.log(1 + math.exp(-1))], [-math.log(2), -math.log(2)]]
    assert scores.tolist() == [pytest.approx(row) for row in expected]


@given(COLUMN, COLUMN, st.floats(0.2, 5))
@settings(max_examples=50, deadline=None)
def test_log_sigmoid_is_below_0_and_rises_with_z_by_at_most_its_slope(z, more, temperature):
    low = torch.tensor(z, dtype=torch.float64)[:, None]
    high = low + torch.tensor(more, dtype=torch.float64).abs()[:, None]
    anchor = torch.zeros(3, dtype=torch.float64)
    before, after = (log_sigmoid_scores(x, anchor, temperature) for x in (low, high))
    assert (after < 0).all() and (after >= before).all()
    assert (after - before <= (high - low) / temperature + 1e-12).all()


def test_log_sigmoid_prefers_what_is_good_in_all_to_the_same_sum_in_one():
    even, uneven = torch.tensor([[1.0], [1.0]]), torch.tensor([[3.0], [-1.0]])
    anchor = torch.ones(2)
    assert log_sigmoid_scores(even, anchor, 1.0).sum() > log_sigmoid_scores(uneven, anchor, 1.0).sum()


def test_the_worst_objective_is_paid_alone_and_equal_ones_share():
    margins = torch.tensor([[3.0, 1.0, -2.0], [1.0, 1.0, 5.0]])
    scores = worst_case_scores(margins, torch.tensor([True, True]), 0.0)
    assert scores.tolist() == [[0.0, 0.5, -2.0], [1.0, 0.5, 0.0]]


def test_the_soft_minimum_by_hand():
    # Margins 0 and log 3 at T = 1: the mean of exp(-m) is (1 + 1/3) / 2 = 2/3; the shares are 3/4 and 1/4.
    scores = worst_case_scores(torch.tensor([[0.0], [math.log(3)]]), torch.tensor([True, True]), 1.0)
    assert scores.sum().item() == pytest.approx(math.log(3 / 2))
    assert scores[0].item() == pytest.approx(0.75 * math.log(2 * 0.75))
    assert scores[1].item() == pytest.approx(0.25 * (math.log(3) + math.log(2 * 0.25)), abs=1e-6)


@given(COLUMN, st.integers(0, 2), st.floats(0, 3), st.sampled_from([0.0, 0.1, 1.0, 10.0]))
@settings(max_examples=80, deadline=None)
def test_the_worst_case_lies_between_least_and_mean_and_never_falls_when_a_score_rises(z, k, more, temperature):
    margins = torch.tensor(z, dtype=torch.float64)[:, None]
    risen = margins.clone()
    risen[k] += more
    before, after = (worst_case_scores(m, ALL, temperature).sum().item() for m in (margins, risen))
    assert min(z) - 1e-9 <= before <= sum(z) / 3 + 1e-9
    assert after >= before - 1e-9
    shifted = worst_case_scores(margins + 0.7, ALL, temperature).sum().item()
    assert shifted == pytest.approx(before + 0.7)


@given(st.lists(st.tuples(st.floats(-4, 4), st.floats(-4, 4)), min_size=1, max_size=6), st.sampled_from([0.0, 0.5]))
@settings(max_examples=40, deadline=None)
def test_combinations_score_each_sample_by_itself_and_leave_out_the_inactive(samples, temperature):
    z = torch.tensor(samples, dtype=torch.float64).T
    third = torch.full((1, z.shape[1]), -50.0, dtype=torch.float64)
    together = worst_case_scores(torch.cat([z, third]), torch.tensor([True, True, False]), temperature)
    alone = torch.cat([worst_case_scores(column[:, None], ALL[:2], temperature) for column in z.T], 1)
    torch.testing.assert_close(together[:2], alone)
    assert not together[2].any()


def test_the_lagrangian_by_hand():
    # (0.6 + 0) / (1 + 3) and (0.8 + 3) / (1 + 3)
    found = constrained_coefficients(torch.tensor([0.6, 0.8]), torch.tensor([0.0, 3.0]))
    assert found.tolist() == pytest.approx([0.15, 0.95])


@given(st.lists(st.floats(0, 2), min_size=3, max_size=3), st.lists(st.floats(0, 9), min_size=3, max_size=3))
@settings(max_examples=40, deadline=None)
def test_the_lagrangian_is_a_mean_of_the_weighted_sum_and_the_constraints(weights, multipliers):
    c, m = torch.tensor(weights, dtype=torch.float64), torch.tensor(multipliers, dtype=torch.float64)
    found = constrained_coefficients(c, m)
    share = 1 / (1 + m.sum())
    # c counts with `share`, each constraint alone with its multiplier's; together these make 1.
    torch.testing.assert_close(found - share * c, m * share)
    assert (share + (m * share).sum()).item() == pytest.approx(1)
    assert torch.equal(constrained_coefficients(c, torch.zeros_like(m)), c)


@given(st.floats(0.001, 5), st.floats(-30, 30), st.floats(0, 30))
@settings(max_examples=40, deadline=None)
def test_a_larger_shortfall_never_gives_a_smaller_multiplier(now, shortfall, more):
    multiplier = torch.tensor([now, now], dtype=torch.float64)
    short = torch.tensor([shortfall, shortfall + more], dtype=torch.float64)
    small, large = learned_multipliers(multiplier, short, 0.1, 5.0).tolist()
    assert LEAST_MULTIPLIER <= small <= large <= 5.0


def test_multipliers_rise_below_the_floor_fall_above_it_and_stay_in_bounds():
    now = torch.tensor([0.0, 1.0, 1.0, 4.9, 1e-3])
    shortfall = torch.tensor([5.0, 2.0, -2.0, 9.0, -3.0])
    found = learned_multipliers(now, shortfall, 0.1, 5.0).tolist()
    # 1 * e^0.2, 1 * e^-0.2, and the bounds; no floor, no multiplier
    assert found == pytest.approx([0.0, 1.2214028, 0.8187308, 5.0, LEAST_MULTIPLIER])


def test_multipliers_settle_where_the_floor_is_met():
    """One dimension: a policy that answers the gradient moves mean z to lambda / (1 + lambda) on a scale of 4."""
    multiplier = torch.tensor([0.2])
    for _ in range(200):
        mean = 4 * multiplier / (1 + multiplier)
        multiplier = learned_multipliers(multiplier, 3.0 - mean, 0.1, 5.0)
    assert multiplier.item() == pytest.approx(3.0, rel=1e-3)  # 4 * 3 / (1 + 3) = 3


def test_streams_are_normalised_over_the_tokens_that_count_and_the_kl_stream_is_not():
    # Tokens that count: -1, 1 of stream 0 (mean 0, sd sqrt 2) and 5, 5 of stream 1 (sd 0, divided by the least).
    advantages = torch.tensor([[[-1.0, 5.0, 0.3], [1.0, 5.0, 0.4], [77.0, 77.0, 77.0]]])
    found = normalised_streams(advantages, torch.tensor([[1.0, 1.0, 0.0]]), 0.1)
    assert found[0, :2, 0].tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert found[0, :2, 1].tolist() == [0.0, 0.0]
    assert found[0, :2, 2].tolist() == pytest.approx([0.3, 0.4])


@given(st.floats(0.5, 50), st.floats(-20, 20))
@settings(max_examples=40, deadline=None)
def test_normalised_streams_do_not_depend_on_scale_or_offset(gain, bias):
    generator = torch.Generator().manual_seed(3)
    advantages = torch.randn(4, 5, 3, generator=generator, dtype=torch.float64)
    mask = torch.ones(4, 5, dtype=torch.float64)
    other = torch.cat([advantages[..., :1] * gain + bias, advantages[..., 1:]], -1)
    torch.testing.assert_close(normalised_streams(other, mask, 0.1), normalised_streams(advantages, mask, 0.1))


def test_linear_pays_z_itself():
    combination = Combination(pack(), DialConfig())
    z = torch.tensor([[1.0, -2.0], [0.5, 3.0]])
    coefficients = combination.coefficients({"helpful": 3, "harmless": 4})
    assert coefficients.tolist() == pytest.approx([0.6, 0.8, 1.0])
    assert combination.scores(z, coefficients) is z
    assert combination.learn(z) == () and combination.multipliers.tolist() == [0.0, 0.0]


def test_log_sigmoid_is_anchored_at_the_85_percent_quantile_of_the_reference():
    combination = Combination(pack(), DialConfig(combine="log_sigmoid", temperature=1.0))
    z = torch.tensor([[1.0], [2.0]])  # (12 - 10) / 2 and (0 - -1) / 0.5
    assert combination.scores(z, torch.ones(3)).flatten().tolist() == pytest.approx([-math.log(2)] * 2)


def test_worst_case_measures_from_the_floors_and_leaves_out_a_weight_of_0():
    dial = DialConfig(combine="worst_case", temperature=0, floors={"harmless": 1.0})
    combination, z = Combination(pack(), dial), torch.tensor([[0.5], [1.2]])
    assert combination.scores(z, combination.coefficients(BOTH)).tolist() == [[0.0], [pytest.approx(0.2)]]
    alone = combination.coefficients({"helpful": 1, "harmless": 0})
    assert alone.tolist() == [1.0, 0.0, 1.0]
    assert combination.scores(z, alone).tolist() == [[0.5], [0.0]]


def test_constrained_learns_a_multiplier_for_each_floor_and_goes_on_from_a_checkpoint():
    dial = DialConfig(combine="constrained", floors={"harmless": 0.5}, multiplier=2.0, multiplier_rate=0.5)
    combination = Combination(pack(), dial)
    weights = {"helpful": 1, "harmless": 0}
    assert combination.coefficients(weights).tolist() == pytest.approx([1 / 3, 2 / 3, 1.0])
    combination.learn(torch.tensor([[9.0, 9.0], [-1.0, 0.0]]))  # the mean falls short of 0.5 by 1
    assert combination.multipliers.tolist() == pytest.approx([0.0, 2 * math.exp(0.5)])
    other = Combination(pack(), dial, multipliers=combination.multipliers.tolist())
    assert torch.equal(other.coefficients(weights), combination.coefficients(weights))


def test_normalising_brings_a_quiet_objective_to_the_spread_of_a_loud_one():
    generator = torch.Generator().manual_seed(0)
    streams = torch.randn(8, 6, 3, generator=generator) * torch.tensor([2.0, 0.2, 0.5])
    found = normalised_streams(streams, torch.ones(8, 6))
    assert found.flatten(0, 1).std(0)[:2].tolist() == pytest.approx([1.0, 1.0])
    assert torch.equal(found[..., 2], streams[..., 2])


def test_weights_hold_until_the_next_step_of_the_schedule():
    dial = DialConfig(weights_at={4: {"helpful": 1, "harmless": 3}, 6: {"harmless": 1}})
    path = [weights_at(dial, BOTH, step) for step in (1, 3, 4, 5, 6, 99)]
    expected = [(1, 1), (1, 1), (1, 3), (1, 3), (0, 1), (0, 1)]
    assert path == [{"helpful": h, "harmless": s} for h, s in expected]


def test_weights_move_in_a_straight_line_between_the_steps_of_a_schedule():
    dial = DialConfig(weights_at={5: {"helpful": 3, "harmless": 0}}, between="linear")
    path = [weights_at(dial, BOTH, step) for step in (1, 2, 4, 5, 9)]
    assert [row["helpful"] for row in path] == pytest.approx([1, 1.5, 2.5, 3, 3])
    assert [row["harmless"] for row in path] == pytest.approx([1, 0.75, 0.25, 0, 0])


@pytest.mark.parametrize(
    ("dial", "message"),
    [
        ({"floors": {"harmless": 1}}, "combine 'linear' reads no floors"),
        ({"combine": "constrained"}, "needs floors"),
        ({"combine": "worst_case", "between": "linear"}, "passes through unequal weights"),
        ({"combine": "log_sigmoid", "temperature": 0}, "needs one above 0"),
        ({"weights_at": {0: {"helpful": 1}}}, "weights_at has step 0; allowed: 1 or later"),
        ({"weights_at": {2: {"helpful": 0}}}, "all weights at step 2 are 0"),
        ({"weights_at": {2: {"helpful": -1}}}, "weight of 'helpful' at step 2 is -1"),
        ({"combine": "constrained", "floors": {"harmless": 0}, "multiplier": 9}, "above multiplier_max 5"),
    ],
)
def test_a_dial_that_would_ignore_or_break_something_is_refused(dial, message):
    with pytest.raises(ValueError, match=message):
        DialConfig.model_validate(dial)


@pytest.mark.parametrize(
    ("dial", "weights", "message"),
    [
        (DialConfig(combine="constrained", floors={"kind": 1}), BOTH, "ppo.dial.floors: unknown objective 'kind'"),
        (DialConfig(weights_at={2: {"kind": 1}}), BOTH, "ppo.dial.weights_at.2: unknown objective 'kind'"),
        (DialConfig(combine="worst_case"), {"helpful": 1, "harmless": 2}, "the weights are helpful=1, harmless=2"),
    ],
)
def test_a_dial_must_fit_the_objectives_and_their_weights(dial, weights, message):
    with pytest.raises(InvalidInput, match=message):
        check_dial(dial, weights, ("helpful", "harmless"))
