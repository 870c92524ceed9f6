"""Curves of gain against distance, and when a reward model and its auditor part; numbers by hand."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.overoptimization import best_step, fit_gao, goodhart, parted
from rlhf_core.records.runs import WatchPoint

D = np.array([0.0, 0.5, 1.0, 2.0, 3.0])


def curve(alpha, beta, prompts=40, noise=0.0):
    """Gains (N, P) of R(d) = d (alpha - beta log d), with noise that differs by prompt."""
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where(D > 0, D * (alpha - beta * np.log(D)), 0.0)
    return gain[:, None] + noise * np.random.default_rng(0).normal(size=(len(D), prompts))


def test_a_curve_without_noise_is_found_again_with_its_peak():
    # alpha 1, beta 1: the peak is at exp(1 - 1) = 1, where the gain is beta * d = 1.
    fit = fit_gao(D, curve(1.0, 1.0))
    assert fit is not None and fit.refusal == ""
    assert (fit.alpha.value, fit.beta.value) == (pytest.approx(1), pytest.approx(1))
    assert (fit.peak, fit.peak_gain) == (pytest.approx(1), pytest.approx(1))
    assert fit.gain(2.0) == pytest.approx(2 * (1 - math.log(2))) and fit.gain(0) == 0


@given(st.floats(-3, 3), st.floats(-2, 2))
@example(-2.088083833400029, 0.0)
@settings(max_examples=40, deadline=None)
def test_any_curve_of_its_law_is_found_again(alpha, beta):
    fit = fit_gao(D, curve(alpha, beta, prompts=3), resamples=100)
    assert fit is not None
    assert fit.alpha.value == pytest.approx(alpha, abs=1e-9) and fit.beta.value == pytest.approx(beta, abs=1e-9)


def test_best_of_n_has_its_own_law():
    # d (2 - 1 d): peak at 2 / 2 = 1 with gain 1.
    fit = fit_gao(D, (D * (2 - D))[:, None] * np.ones((1, 5)), law="best_of_n")
    assert fit is not None and (fit.peak, fit.peak_gain) == (pytest.approx(1), pytest.approx(1))


def test_a_curve_is_not_drawn_out_beyond_what_was_seen():
    fit = fit_gao(D, curve(1.0, 1.0))
    assert fit is not None
    with pytest.raises(InvalidInput, match=r"distance 3.1 was not seen; allowed: 0 to 3"):
        fit.gain(3.1)


def test_a_peak_that_was_not_seen_is_not_named():
    # alpha 3, beta 1: the peak would be at exp(2) = 7.4, beyond 3.
    fit = fit_gao(D, curve(3.0, 1.0))
    assert fit is not None and fit.peak is None and "outside of what was seen, sqrt(KL) up to 3.00" in fit.refusal


def test_a_curve_that_bends_up_or_may_be_straight_has_no_peak():
    up = fit_gao(D, curve(1.0, -0.5))
    assert up is not None and up.peak is None and "does not bend down" in up.refusal
    unsure = fit_gao(D, curve(1.0, 0.05, noise=2.0))
    assert unsure is not None and unsure.peak is None and "interval contains 0" in unsure.refusal
    assert unsure.beta.low < 0.05 < unsure.beta.high


def test_two_distances_fit_no_curve_of_two_constants():
    assert fit_gao([0.0, 1.0, 2.0, 2.0], np.ones((4, 3))) is None


def point(step, proxy, auditor=(), gold=(), objective="harmless", kl=None):
    found = float(step if kl is None else kl)
    return WatchPoint(run_id="r", step=step, objective=objective, kl=found, proxy=proxy, auditor=auditor, gold=gold)


GAMED = [
    point(0, (0.0, 1.0), (0.0, 0.0), (3.0, 5.0)),
    point(1, (1.0, 2.0), (1.0, 1.0), (4.0, 6.0)),
    point(4, (2.0, 3.0), (0.5, 0.4), (5.0, 7.0)),
    point(9, (3.0, 4.0), (0.25, 0.3), (3.5, 5.5)),
]


def test_gains_are_those_over_the_reference_in_its_units():
    found = goodhart(GAMED, gold_sd=2.0)
    assert found is not None and [p.distance for p in found.points] == [0, 1, 2, 3]
    assert [p.proxy.value for p in found.points] == [0, 1, 2, 3]
    assert [p.auditor.value for p in found.points if p.auditor] == pytest.approx([0, 1, 0.45, 0.275])
    assert [p.gap.value for p in found.points if p.gap] == pytest.approx([0, 0, 1.55, 2.725])
    assert [p.gold.value for p in found.points if p.gold] == pytest.approx([0, 0.5, 1.0, 0.25])
    assert found.policy_step == 9 and found.kept == pytest.approx(0.25) and found.parted_at == 9, (
        "gold is the truth where it is known"
    )
    assert set(found.fits) == {"proxy", "auditor", "gold"}


def test_rounding_at_the_reference_is_no_distance_to_fit_a_curve_to():
    rounded = goodhart([point(0, (0.0, 1.0), kl=3e-12), *(row.model_copy(update={"gold": ()}) for row in GAMED[1:])])
    assert rounded is not None and rounded.points[0].distance == 0
    assert rounded.fits["proxy"].points == 3
    shorter = goodhart([point(0, (0.0, 1.0), kl=3e-12), *GAMED[1:3]])
    assert shorter is not None and shorter.fits == {}, "two distances"


def test_what_is_kept_is_measured_where_the_policy_is():
    returned = goodhart(GAMED, 2.0, policy_step=4)
    between = goodhart(GAMED, 2.0, policy_step=3)
    assert returned is not None and (returned.policy_step, returned.kept) == (4, 1.0)
    assert between is not None and (between.policy_step, between.kept) == (1, pytest.approx(0.5))


def test_nothing_is_said_to_be_kept_of_a_gain_that_may_be_none():
    noise = [GAMED[0], GAMED[1].model_copy(update={"gold": (1.0, 7.2)})]
    found = goodhart(noise, 2.0)
    assert found is not None and found.points[1].gold is not None
    assert found.points[1].gold.value == pytest.approx(0.05), "of -1 and 1.1"
    assert found.kept is None


def test_without_gold_the_auditor_is_the_truth_and_without_both_there_is_none():
    audited = goodhart([p.model_copy(update={"gold": ()}) for p in GAMED])
    assert audited is not None and audited.parted_at == 4 and audited.kept == pytest.approx(0.275)
    alone = goodhart([p.model_copy(update={"gold": (), "auditor": ()}) for p in GAMED])
    assert alone is not None and alone.parted_at is None and alone.kept is None


def test_there_is_no_curve_without_the_reference_and_a_later_step():
    assert goodhart(GAMED[1:]) is None and goodhart(GAMED[:1]) is None and goodhart([]) is None


def test_objectives_part_only_after_as_many_watched_steps_as_patience_asks_for():
    assert parted(GAMED, 1, 1.0) == parted(GAMED, 2, 1.0) == ["harmless"]
    assert parted(GAMED, 3, 1.0) == [], "at step 1 all was well"
    assert parted(GAMED[:2], 1, 1.0) == []


def test_one_objective_parts_while_the_others_gain():
    fine = [point(p.step, p.proxy, p.proxy, objective="helpful") for p in GAMED]
    assert parted([*GAMED, *fine], 2, 1.0) == ["harmless"]


def test_a_fall_within_its_error_or_with_a_falling_proxy_is_no_parting():
    noisy = [point(0, (0.0, 0.0), (0.0, 0.0)), point(1, (1.0, 1.0), (1.0, 1.0)), point(2, (2.0, 2.0), (-5.0, 6.9))]
    # The mean falls by 0.05, and the difference of 6 and -5.9 has a standard error of 5.95.
    assert parted(noisy, 1, 1.0) == [] and parted(noisy, 1, 0.0) == ["harmless"]
    both_fall = [*GAMED[:2], point(2, (0.5, 0.5), (0.1, 0.2))]
    assert parted(both_fall, 1, 1.0) == []


def test_gold_parts_nothing():
    blind = [p.model_copy(update={"auditor": ()}) for p in GAMED]
    assert parted(blind, 1, 0.0) == [] and best_step(blind, {"harmless": 1}, 0.0) == 0


def test_the_best_step_is_that_of_the_weighted_auditors():
    helpful = [point(s, (0.0, 0.0), (a, a), objective="helpful") for s, a in ((1, 0.0), (4, 1.0), (9, 1.1))]
    # harmless: 1, 0.45, 0.275 at steps 1, 4, 9; helpful: 0, 1, 1.1
    assert best_step([*GAMED, *helpful], {"harmless": 1, "helpful": 0}, 0.0) == 1
    assert best_step([*GAMED, *helpful], {"harmless": 1, "helpful": 1}, 0.0) == 4
    assert best_step([*GAMED, *helpful], {"harmless": 1, "helpful": 9}, 0.0) == 9


def test_of_steps_as_good_as_the_best_the_last_is_taken():
    # The means are 2, 1.5 and 1. Step 2 lies 0.5 lower, of -0.5 and 1.5 with a standard error of 1; step 3 lies 1 lower
    # for both prompts, without any error.
    rows = [point(0, (0.0, 0.0), (9.0, 9.0))]
    rows += [point(step, (0.0, 0.0), seen) for step, seen in ((1, (1.0, 3.0)), (2, (1.5, 1.5)), (3, (0.0, 2.0)))]
    assert best_step(rows, {"harmless": 1}, 0.6) == 2
    assert best_step(rows, {"harmless": 1}, 0.4) == 1
    alone = [point(step, (0.0,), (seen,)) for step, seen in ((1, 1.0), (2, 0.9))]
    assert best_step(alone, {"harmless": 1}, 5.0) == 1, "one prompt has no error that could excuse a fall"
