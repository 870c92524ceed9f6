"""The NormPack: what a reward model's raw scores mean, measured once on samples of the reference policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from rlhf_core.errors import InvalidInput, TrainingFailed
from rlhf_core.records.base import content_id
from rlhf_core.records.models import NormPack

QUANTILES = (0.01, 0.05, 0.50, 0.85, 0.95, 0.99)


def build_norm_pack(
    run_id: str,
    policy_version: str,
    objectives: Sequence[str],
    reward_models: Sequence[str],
    scores: ArrayLike,
    lengths: ArrayLike,
    temperature: float = 1.0,
) -> NormPack:
    """Measure scores (K, N) of N samples with `lengths` (N,): mean, sd, quantiles, correlation and length slope.

    The slope is that of a least-squares line, in score per token. TrainingFailed when an objective's scores do not
    vary or are not finite: nothing could be standardised by them.
    """
    table, tokens = np.asarray(scores, dtype=np.float64), np.asarray(lengths, dtype=np.float64)
    if table.shape != (len(objectives), len(tokens)) or len(reward_models) != len(objectives) or len(tokens) < 2:
        raise InvalidInput(
            f"scores have the shape {table.shape}; allowed: ({len(objectives)}, {len(tokens)}), "
            f"one row per objective and one column per sample, of at least 2 samples"
        )
    mean, sd = table.mean(1), table.std(1, ddof=1)
    for name, row, spread in zip(objectives, table, sd, strict=True):
        _check_scores(name, row, float(spread))
    correlation = np.atleast_2d(np.corrcoef(table))
    centered = tokens - tokens.mean()
    slope = (table - mean[:, None]) @ centered / max(float(centered @ centered), 1e-12)
    numbers = {
        "mean": _floats(mean),
        "sd": _floats(sd),
        "quantiles": tuple(_floats(row) for row in np.quantile(table, QUANTILES, axis=1).T),
        "correlation": tuple(_floats(row) for row in correlation),
        "length_slope": _floats(slope),
        "mean_length": float(tokens.mean()),
        "n": len(tokens),
    }
    names = (run_id, policy_version, tuple(objectives), tuple(reward_models))
    return NormPack(
        id=content_id("normpack", *names, *numbers.values()),
        run_id=run_id,
        policy_version=policy_version,
        objectives=tuple(objectives),
        reward_models=tuple(reward_models),
        temperature=temperature,
        **numbers,
    )


def _check_scores(objective: str, scores: np.ndarray, sd: float) -> None:
    if not np.isfinite(scores).all():
        raise TrainingFailed(f"the reward model of '{objective}' gave scores that are not finite")
    if sd <= 1e-8 * max(1.0, float(np.abs(scores).max())):
        raise TrainingFailed(
            f"the reward model of '{objective}' gave all {len(scores)} samples the same score, {scores[0]:.4g}: "
            "it learned nothing that tells the policy's responses apart"
        )


def _floats(values: np.ndarray) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
