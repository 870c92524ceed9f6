"""Calibration of a judge's probabilities by one temperature (Guo et al. 2017), fitted where the truth is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.feedback.judge_gate import Evidence, Judge
from rlhf_core.feedback.vote_aggregation import sigmoid
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Calibration
from rlhf_core.seeding import uniform_draw

FOLDS = 5
BINS = 10
COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature: a judge that is always right would be made certain, one that is often wrong, empty."""
HALVINGS = 40


class Outcome(NamedTuple):
    """The judge's log-odds of a being better, and whether it is."""

    logit: float
    a_is_better: bool


def fit_temperature(outcomes: Sequence[Outcome]) -> float:
    """Find the T within bounds that maximises the likelihood of the outcomes under p = sigmoid(logit / T).

    The slope in 1/T of the negative log-likelihood, sum of l (sigmoid(l / T) - y), grows with 1/T: halving finds its
    zero, or the bound beyond which it lies.
    """
    low, high = math.log(1 / HOTTEST), math.log(1 / COLDEST)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        beta = math.exp(middle)
        slope = sum(logit * (sigmoid(beta * logit) - truth) for logit, truth in outcomes)
        low, high = (low, middle) if slope > 0 else (middle, high)
    return math.exp(-(low + high) / 2)


def brier_score(probabilities: Sequence[float], truths: Sequence[bool]) -> float:
    """Return the mean of (p - y)^2 (Brier 1950)."""
    return sum((p - y) ** 2 for p, y in zip(probabilities, truths, strict=True)) / len(truths)


def calibration_error(probabilities: Sequence[float], truths: Sequence[bool]) -> float:
    """Return the expected calibration error.

    It is the mean |accuracy - confidence| over 10 equal bins of confidence from 0.5 to 1.

    Confidence is the probability of the likelier answer, so that swapping a and b changes nothing. p = 0.5 is right
    half of the time.
    """
    bins: list[list[tuple[float, float]]] = [[] for _ in range(BINS)]
    for p, truth in zip(probabilities, truths, strict=True):
        confidence, right = max(p, 1 - p), 0.5 if p == 0.5 else float((p > 0.5) == truth)
        bins[min(BINS - 1, int((confidence - 0.5) * 2 * BINS))].append((confidence, right))
    return sum(abs(sum(confidence - right for confidence, right in held)) for held in bins) / len(truths)


def calibrate(judge: Judge, evidence: Evidence, least: int | None) -> Calibration | None:
    """Fit the temperature of one judge and objective, and measure its errors on pairs outside the fit.

    Abstentions do not count, as they train nothing. Folds part the prompts, so that none is on both sides. Gold only
    measures: its temperature is not to be applied. Of a panel the errors are too small: which of its judges stay, and
    how much each counts, was found on all of these pairs. None when fewer than `least` pairs are known, or all are of
    one prompt; with no `least`, always.
    """
    cases = [case for case in evidence.cases if not case.abstains]
    prompts = sorted({case.comparison.prompt.id for case in cases}, key=uniform_draw)
    if least is None or len(cases) < least or len(prompts) < 2:
        return None
    folds = min(FOLDS, len(prompts))
    fold = {prompt: place % folds for place, prompt in enumerate(prompts)}
    held = [fold[case.comparison.prompt.id] for case in cases]
    outcomes = [Outcome(case.counted.logit, case.a_is_better) for case in cases]
    fitted = [fit_temperature([o for o, k in zip(outcomes, held, strict=True) if k != out]) for out in range(folds)]
    before = [sigmoid(outcome.logit) for outcome in outcomes]
    after = [sigmoid(outcome.logit / fitted[k]) for outcome, k in zip(outcomes, held, strict=True)]
    truths = [outcome.a_is_better for outcome in outcomes]
    temperature = fit_temperature(outcomes)
    return Calibration(
        id=content_id("calibration", *judge, temperature, len(cases), evidence.truth),
        run_id=judge.run_id,
        judge=judge.name,
        objective=judge.objective,
        constitution_hash=judge.constitution_hash,
        truth=evidence.truth,
        temperature=temperature,
        pairs=len(cases),
        folds=folds,
        brier_before=brier_score(before, truths),
        brier_after=brier_score(after, truths),
        ece_before=calibration_error(before, truths),
        ece_after=calibration_error(after, truths),
        applied=evidence.truth == "human",
    )
