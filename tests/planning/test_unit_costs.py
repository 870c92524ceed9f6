"""Seconds and bytes of one worker, worked out by hand from a data sheet of round numbers."""

from __future__ import annotations

import numpy as np
import pytest

from rlhf_core.errors import InvalidInput
from rlhf_core.planning.cluster import unit_costs
from tests.planning.clusters import TIMED, cluster

ONE_AND_TWO = np.array([1.0, 2.0])


def test_a_token_costs_a_pass_over_the_weights_and_over_the_rows_that_are_left():
    # 2 GB of weights; a position is 2 * 1 * 1 * 1 * 2 = 4 bytes; half of 1e12 bytes a second; both share a prompt of 10
    # tokens, which takes 2 * 1e9 * 10 FLOPs of half of 1e15 a second.
    both, alone = 2e9 + 2 * 11 * 4, 2e9 + 12 * 4
    assert unit_costs.write_seconds(cluster(), ONE_AND_TWO) == pytest.approx((both + alone) / 5e11 + 2e10 / 5e14)


def test_many_rows_are_bound_by_products():
    rows = np.full(1000, 1.0)  # 2 * 1e9 * 1000 FLOPs of 5e14 are 4 ms, and 2 GB take 4 ms too
    few = unit_costs.write_seconds(cluster(), rows)
    many = unit_costs.write_seconds(cluster(), np.full(4000, 1.0))
    read = 2e9 * 500 * 10 / 5e14
    assert few == pytest.approx(0.004 + read, rel=1e-3) and many == pytest.approx(0.016 + 4 * read, rel=1e-3)


def test_scores_cost_a_pass_for_each_adapter_and_one_for_a_trunk():
    trunk = unit_costs.score_seconds(cluster(), ONE_AND_TWO)
    assert trunk == pytest.approx(2e9 * (3 + 20) / 5e14)
    assert unit_costs.score_seconds(cluster(layout="adapters"), ONE_AND_TWO) == pytest.approx(2 * trunk)


def test_learning_is_shared_out_and_full_tuning_costs_half_as_much_again_in_updates():
    # 23 tokens: 4 FLOPs for targets and 4 for the update of an adapter, by parameter; 6 where weights learn.
    assert unit_costs.learn_seconds(cluster(), ONE_AND_TWO) == pytest.approx(1e9 * 23 * 8 / 5e14)
    two = unit_costs.learn_seconds(cluster(workers={"learners": 2}), ONE_AND_TWO)
    assert two == pytest.approx(1e9 * 23 * 8 / 1e15)
    full = unit_costs.learn_seconds(cluster(policy={"adapter_parameters": 0}, sharded=False), ONE_AND_TWO)
    assert full == pytest.approx(1e9 * 23 * 10 / 5e14)


def test_gradients_cross_the_network_only_between_machines():
    assert unit_costs.exchanged_bytes(cluster(workers={"learners": 8})) == 0
    # Two machines, an update of one pass: 4 MB of gradients, and 2 GB of weights four times (the policy's and the
    # reference's pass before the update, forward and back in it); half of that is the other machine's.
    two = cluster(workers={"learners": 16})
    assert unit_costs.exchanged_bytes(two) == (4e6 + 4 * 2e9) / 2
    assert unit_costs.learn_seconds(two, ONE_AND_TWO) == pytest.approx(1e9 * 23 * 8 / (16 * 5e14) + 4.002e9 / 1e12)
    # Whole weights: a ring moves the gradients twice, of 32 bits for each number whatever the weights have.
    assert unit_costs.exchanged_bytes(cluster(workers={"learners": 16}, sharded=False)) == 2 * 4e6 / 2
    full = cluster(workers={"learners": 16}, sharded=False, policy={"adapter_parameters": 0})
    assert unit_costs.exchanged_bytes(full) == 2 * 4e9 / 2


def test_a_pass_of_fewer_rows_gathers_weights_more_often_and_holds_less():
    few, many = (
        cluster(workers={"learners": 16}, step={"prompts": 64, "minibatch": 64, "rows_per_pass": n}) for n in (1, 8)
    )
    # 128 samples: 8 of each learner before the updates, and 4 in each of two updates.
    assert unit_costs.exchanged_bytes(few) == (2 * 4e6 + 2 * (8 + 2 * 4) * 2e9) / 2
    assert unit_costs.exchanged_bytes(many) == (2 * 4e6 + 2 * (1 + 2 * 1) * 2e9) / 2
    # Seven more rows of 30 positions, 10 wide, on one layer: 34 bytes each.
    assert unit_costs.memory(many).learner - unit_costs.memory(few).learner == pytest.approx(7 * 30 * 10 * 34)


def test_what_was_measured_goes_before_the_data_sheet():
    on = cluster(measured=TIMED)
    assert unit_costs.write_seconds(on, np.full(2, 20.0)) == 10
    assert unit_costs.write_seconds(on, np.full(2, 10.0)) == 6  # half as long, but for the call itself
    assert unit_costs.score_seconds(on, ONE_AND_TWO) == 1
    assert unit_costs.learn_seconds(on, np.full(8, 20.0)) == 5


def test_traffic_counts_adapters_samples_and_scores():
    moved = unit_costs.traffic(cluster(workers={"samplers": 9}))
    assert moved.policies == 2 * 4e6  # two machines fetch an adapter of a million 32-bit numbers
    assert moved.samples == 3 * 8 * 8 * 30 and moved.scores == 2 * 8 * 8 * 2 and moved.learners == 0


def test_memory_is_told_by_role_and_refused_where_it_does_not_fit():
    held = unit_costs.memory(cluster())
    # Weights, two adapters of 4 MB, and two rows of 30 positions of 4 bytes.
    assert held.sampler == 2e9 + 8e6 + 2 * 30 * 4
    # The base, 16 bytes for each number of the adapter, and eight rows of 30 positions, and logits.
    assert held.learner == 2e9 + 16e6 + 8 * 30 * 10 * 34 + 4 * 1024 * 150_000
    assert unit_costs.memory(cluster(policy={"adapter_parameters": 0}, sharded=False)).learner > 2e9 + 16e9
    with pytest.raises(InvalidInput, match=r"a sampler needs 2.0 GB, and a GPU of 2 GB has 1.8 for it; allowed:"):
        unit_costs.memory(cluster(machine={"memory": "2GB"}))


def test_lengths_have_the_mean_and_spread_that_were_asked_for():
    on = cluster(step={"response_tokens": 100, "response_spread": 0.4, "longest": 1000})
    drawn = unit_costs.draw_lengths(on, 20_000, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(100, rel=0.02) and drawn.std() == pytest.approx(40, rel=0.05)
    assert (unit_costs.draw_lengths(cluster(), 5, np.random.default_rng(0)) == 20).all()
