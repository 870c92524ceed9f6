"""Calibration, worked by hand: where all log-odds are +-L and a share q is right, the best T is L / ln(q / (1 - q))."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.judge_calibration import (
    COLDEST,
    HOTTEST,
    Outcome,
    brier_score,
    calibrate,
    calibration_error,
    fit_temperature,
)
from rlhf_core.feedback.judge_gate import Case, Evidence, Judge
from rlhf_core.feedback.vote_aggregation import Tally
from rlhf_core.records.feedback import Truth
from rlhf_core.records.samples import Comparison, Prompt, Sample

JUDGE = Judge("run", "judge", "helpful", "law")


def evidence(
    count: int,
    share_right: float,
    logit: float,
    truth: Truth = "human",
    prompts: int = 1000,
    about: str = "Question",
) -> Evidence:
    """Pairs of one size of log-odds, a share of them right, spread evenly; sides alternate."""
    cases = []
    for n in range(count):
        prompt = Prompt.of(f"{about} {n % prompts}?")
        a, b = (Sample(id=f"{n}{side}", prompt=prompt, response=f"{n}{side}", policy_version="base") for side in "ab")
        a_is_better, right = n % 2 == 0, (n * share_right) % 1 < share_right
        lead = logit if a_is_better == right else -logit
        cases.append(Case(Comparison.of(a, b, "run"), a_is_better, Tally(lead, lead, 1.0, 2), abstains=False))
    return Evidence(truth, cases)


def test_the_temperature_of_a_judge_that_is_too_sure_is_the_one_worked_by_hand():
    outcomes = [Outcome(2.0, True)] * 3 + [Outcome(2.0, False)]
    assert fit_temperature(outcomes) == pytest.approx(2 / math.log(3), rel=1e-9)  # 1.8205
    mirrored = [Outcome(-2.0, False)] * 3 + [Outcome(-2.0, True)]
    assert fit_temperature(mirrored) == pytest.approx(2 / math.log(3), rel=1e-9)


def test_the_temperature_keeps_within_its_bounds():
    assert fit_temperature([Outcome(1.0, True)] * 5) == pytest.approx(COLDEST, rel=1e-6)
    assert fit_temperature([Outcome(1.0, False)] * 5) == pytest.approx(HOTTEST, rel=1e-6)


@given(st.lists(st.tuples(st.floats(-6, 6), st.booleans()), min_size=2, max_size=30))
def test_no_temperature_near_the_fitted_one_is_likelier(drawn: list[tuple[float, bool]]):
    outcomes = [Outcome(*one) for one in drawn]

    def loss(temperature: float) -> float:
        leads = [logit / temperature * (1 if truth else -1) for logit, truth in outcomes]
        return sum(math.log1p(math.exp(-lead)) if lead > -500 else -lead for lead in leads)

    best = fit_temperature(outcomes)
    assert loss(best) <= loss(max(COLDEST, best * 0.98)) + 1e-9
    assert loss(best) <= loss(min(HOTTEST, best * 1.02)) + 1e-9


def test_brier_and_calibration_error_are_those_worked_by_hand():
    probabilities, truths = [0.9, 0.9, 0.1, 0.6], [True, False, False, True]
    # (0.01 + 0.81 + 0.01 + 0.16) / 4
    assert brier_score(probabilities, truths) == pytest.approx(0.2475)
    # Confidence 0.9 three times, two of them right: |2/3 - 0.9| x 3/4; confidence 0.6 once, right: |1 - 0.6| / 4.
    assert calibration_error(probabilities, truths) == pytest.approx(0.175 + 0.1)
    assert calibration_error([0.5, 0.5], [True, False]) == 0.0


@given(st.lists(st.tuples(st.integers(0, 19), st.booleans()), min_size=1, max_size=20))
def test_swapping_a_and_b_changes_no_error(drawn: list[tuple[int, bool]]):
    # Odd fortieths lie in the middle of the bins.
    p, y = [(2 * n + 1) / 40 for n, _ in drawn], [y for _, y in drawn]
    q, z = [1 - value for value in p], [not value for value in y]
    assert brier_score(q, z) == pytest.approx(brier_score(p, y))
    assert calibration_error(q, z) == pytest.approx(calibration_error(p, y))


def test_a_judge_that_is_too_sure_is_calibrated_on_what_it_was_not_fitted_on():
    found = calibrate(JUDGE, evidence(400, 0.75, 4.0), least=100)
    assert found is not None and found.applied and found.folds == 5 and found.pairs == 400
    assert found.temperature == pytest.approx(4 / math.log(3), rel=0.02)  # 3.641
    # sigmoid(4) = 0.982014: before, (0.75 x 0.017986^2 + 0.25 x 0.982014^2) and 0.982014 - 0.75.
    assert found.brier_before == pytest.approx(0.241330, abs=1e-5)
    assert found.ece_before == pytest.approx(0.232014, abs=1e-5)
    assert found.brier_after == pytest.approx(0.1875, abs=1e-3)  # 0.75 x 0.25
    assert found.ece_after < 0.05


def test_a_prompts_pairs_are_measured_by_the_temperature_that_the_other_prompts_give():
    """Of one prompt's pairs 3 in 4 are right, of the other's 5 in 8: each is given the other's share as probability."""
    one, other = (evidence(16, share, 2.0, prompts=1, about=name) for share, name in ((0.75, "This"), (0.625, "That")))
    found = calibrate(JUDGE, Evidence("human", [*one.cases, *other.cases]), least=32)
    assert found is not None and found.folds == 2 and found.pairs == 32
    # Half (0.75 x 0.375^2 + 0.25 x 0.625^2) and half (0.625 x 0.25^2 + 0.375 x 0.75^2); all together gave 0.214844.
    assert found.brier_after == pytest.approx((0.203125 + 0.25) / 2, abs=1e-6)
    assert found.ece_after == pytest.approx(0.125, abs=1e-6)  # 0.75 - 0.625, either way
    assert found.temperature == pytest.approx(2 / math.log(22 / 10), rel=1e-6)  # 22 of all 32 are right


def test_pairs_on_which_the_judge_abstains_neither_fit_nor_measure():
    silent = [case._replace(abstains=True) for case in evidence(100, 0.0, 4.0).cases]
    found = calibrate(JUDGE, Evidence("human", [*evidence(100, 0.75, 2.0).cases, *silent]), least=100)
    assert found is not None and found.pairs == 100
    assert found.temperature == pytest.approx(2 / math.log(3), rel=1e-6)
    assert calibrate(JUDGE, Evidence("human", silent), least=1) is None


def test_the_temperature_does_not_change_with_the_sides_of_the_pairs():
    plain = evidence(200, 0.8, 3.0)
    cases = [
        Case(
            case.comparison.swap(),
            not case.a_is_better,
            Tally(-case.counted.first, -case.counted.second, 1.0, 2),
            False,
        )
        for case in plain.cases
    ]
    one, other = calibrate(JUDGE, plain, 100), calibrate(JUDGE, Evidence("human", cases), 100)
    assert one is not None and other is not None
    assert one.temperature == pytest.approx(other.temperature)
    assert one.ece_after == pytest.approx(other.ece_after)


def test_too_few_pairs_one_prompt_or_no_wish_leave_the_judge_as_it_is():
    assert calibrate(JUDGE, evidence(99, 0.75, 2.0), least=100) is None
    assert calibrate(JUDGE, evidence(100, 0.75, 2.0), least=100) is not None
    assert calibrate(JUDGE, evidence(100, 0.75, 2.0, prompts=1), least=100) is None
    assert calibrate(JUDGE, evidence(100, 0.75, 2.0), least=None) is None


def test_gold_measures_and_is_not_to_be_applied():
    found = calibrate(JUDGE, evidence(200, 0.75, 2.0, truth="gold"), least=100)
    assert found is not None and not found.applied and found.truth == "gold"
