"""The scale of a run's reward models."""

import numpy as np
import pytest

from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.evaluation.norm_pack import build_norm_pack


def build(scores, lengths=(1, 2, 3, 4), objectives=("helpful", "harmless")):
    models = tuple(f"reward-{name}" for name in objectives)
    return build_norm_pack("run", "policy", objectives, models, scores, lengths)


def test_mean_sd_correlation_slope_and_quantiles_are_those_worked_by_hand():
    pack = build([[1, 2, 3, 4], [4, 3, 2, 1]])
    assert pack.mean == (2.5, 2.5) and pack.sd == pytest.approx(((5 / 3) ** 0.5,) * 2)
    assert np.array(pack.correlation).ravel() == pytest.approx([1, -1, -1, 1])
    assert pack.length_slope == pytest.approx((1.0, -1.0)) and pack.mean_length == 2.5 and pack.n == 4
    assert pack.quantiles[0] == pytest.approx((1.03, 1.15, 2.5, 3.55, 3.85, 3.97))


def test_standardised_reference_samples_have_mean_0_and_sd_1():
    scores = np.random.default_rng(0).normal([[3.0], [-100.0]], [[0.1], [40.0]], (2, 200))
    pack = build(scores, np.arange(200))
    z = (scores - np.array(pack.mean)[:, None]) / np.array(pack.sd)[:, None]
    assert z.mean(1) == pytest.approx([0, 0], abs=1e-9) and z.std(1, ddof=1) == pytest.approx([1, 1])


def test_the_id_depends_on_the_content_and_on_nothing_else():
    assert build([[1, 2, 3, 4], [4, 3, 2, 1]]).id == build([[1, 2, 3, 4], [4, 3, 2, 1]]).id
    assert build([[1, 2, 3, 4], [4, 3, 2, 1]]).id != build([[1, 2, 3, 5], [4, 3, 2, 1]]).id


def test_one_objective_and_one_length_are_enough():
    pack = build([[1.0, 2.0, 4.0]], (7, 7, 7), ("helpful",))
    assert pack.correlation == ((1.0,),) and pack.length_slope == (0.0,)


def test_scores_that_do_not_vary_say_which_reward_model_learned_nothing():
    with pytest.raises(TrainingFailed, match="'harmless' gave all 4 samples the same score"):
        build([[1, 2, 3, 4], [2, 2, 2, 2]])


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(TrainingFailed, match="'helpful' gave scores that are not finite"):
        build([[1, 2, 3, np.nan], [4, 3, 2, 1]])


def test_a_table_of_another_shape_is_refused():
    with pytest.raises(InvalidInput, match="one row per objective"):
        build([[1, 2, 3, 4]])
