"""Bradley-Terry with ties and covariates: how strong each policy is, from who was preferred to whom.

P(a), P(tie), P(b) are in the proportion e^{d/2} : v : e^{-d/2} with d = s_a - s_b + c x (Davidson 1970; covariates as
in Davidson and Beaver 1977): a multinomial logit, whose likelihood has one maximum.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PRIOR_PRECISION = 0.01
"""Of a normal prior on every parameter, which keeps them finite where a policy has won every pair: sd 10."""
STEPS = 60
TOLERANCE = 1e-9
LONGEST_STEP = 3.0
"""Of Newton's method in any parameter: far from the maximum a longer one may overshoot."""
CHUNK = 100
"""Resamples that are fitted together."""


class Games(NamedTuple):
    """N pairs between K policies."""

    a: NDArray[np.int64]
    """(N,) the policy, 0 to K - 1, of reply a; so is `b`."""
    b: NDArray[np.int64]
    outcome: Array
    """(N, 3) share of a pair's labels that prefer a, neither, b; rows sum to 1."""
    covariate: Array
    """(N,) what favours a, whoever wrote it, such as how much longer it is."""
    policies: int


class Strengths(NamedTuple):
    """Parameters in log-odds; (R, ...) where there are resamples."""

    policy: Array
    """(..., K), the first one 0."""
    covariate: Array
    log_tie: Array
    """log v."""


def fit(games: Games, weights: Array | None = None) -> Strengths:
    """Maximise the likelihood of the games with weights (R, N), for each of R resamples; none means 1 each."""
    rows = np.ones((1, len(games.a))) if weights is None else weights
    features = _features(games)
    whole = _newton(features, games.outcome, np.ones((1, len(games.a))), np.zeros((1, features.shape[2])))
    if weights is None:
        found = whole[0]
    else:
        parts = [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
        found = np.concatenate([_newton(features, games.outcome, part, whole.repeat(len(part), 0)) for part in parts])
    return Strengths(
        np.concatenate([np.zeros((*found.shape[:-1], 1)), found[..., : games.policies - 1]], -1),
        found[..., -2],
        found[..., -1],
    )


def _features(games: Games) -> Array:
    """(N, 3, D): what each parameter adds to the log-odds of each outcome."""
    count = len(games.a)
    sides = np.zeros((count, games.policies + 1))
    sides[np.arange(count), games.a] += 0.5
    sides[np.arange(count), games.b] -= 0.5
    sides[:, -1] = games.covariate / 2
    features = np.zeros((count, 3, games.policies + 1))
    # The first policy's strength is fixed, so its column makes room for the tie's.
    features[:, 0, :-1], features[:, 2, :-1] = sides[:, 1:], -sides[:, 1:]
    features[:, 1, -1] = 1
    return features


def _newton(features: Array, outcome: Array, weights: Array, start: Array) -> Array:
    """(R, D) maxima of R weighted likelihoods, from `start`."""
    found, (count, outcomes, size) = start.copy(), features.shape
    flat = features.reshape(count * outcomes, size)
    squares = (flat[:, :, None] * flat[:, None, :]).reshape(count * outcomes, size * size)
    for _ in range(STEPS):
        odds = (found @ flat.T).reshape(-1, count, outcomes)
        odds = np.exp(odds - odds.max(2, keepdims=True))
        chance = odds / odds.sum(2, keepdims=True)
        gradient = ((outcome - chance) * weights[..., None]).reshape(len(found), -1) @ flat - PRIOR_PRECISION * found
        mean = np.einsum("rno,nod->rnd", chance, features)
        second = ((chance * weights[..., None]).reshape(len(found), -1) @ squares).reshape(-1, size, size)
        curvature = second - np.swapaxes(mean, 1, 2) @ (mean * weights[..., None]) + PRIOR_PRECISION * np.eye(size)
        step = np.linalg.solve(curvature, gradient[..., None])[..., 0]
        found += step * np.minimum(1, LONGEST_STEP / np.abs(step).max(1, keepdims=True).clip(1e-12))
        if np.abs(step).max() < TOLERANCE:
            break
    return found


def resample_prompts(prompts: NDArray[np.int64], resamples: int, seed: int) -> Array:
    """Draw prompts anew with replacement; return how often each pair counts (R, N), all of a prompt's alike.

    `prompts` (N,) numbers each pair's prompt from 0 (Efron 1979, with prompts as the units).
    """
    count = int(prompts.max()) + 1
    draws = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    return draws[:, prompts].astype(float)
