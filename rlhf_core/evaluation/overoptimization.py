"""Measure whether a policy still gets better, or only its score: gain against distance from the reference.

Distance is d = sqrt(KL) from the reference policy, in sqrt(nats); all curves begin at (0, 0), the reference itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Array, Estimate, bootstrap_means, mean_estimate
from rlhf_core.records.base import Record
from rlhf_core.records.runs import WatchPoint

Law = Literal["rl", "best_of_n"]
MIN_POINTS = 3
"""Different distances above 0 that a curve of two constants is fitted to."""


class GaoFit(Record):
    """Gain R(d) = d (alpha - beta log d) under RL, or d (alpha - beta d) under best-of-n (Gao et al. 2022)."""

    law: Law
    alpha: Estimate
    beta: Estimate
    seen: float
    """The largest distance that was measured: the curve says nothing beyond it."""
    points: int
    peak: float | None = None
    """The distance at which the gain turns, where that was seen."""
    peak_gain: float | None = None
    refusal: str = ""
    """Why no peak is named."""

    def gain(self, distance: float) -> float:
        """Return R(d), the gain at a distance. Raises InvalidInput beyond what was seen."""
        if not 0 <= distance <= self.seen:
            raise InvalidInput(
                f"distance {distance:g} was not seen; allowed: 0 to {self.seen:.4g}, the curve is not to be drawn out"
            )
        if distance == 0:
            return 0.0
        bend = np.log(distance) if self.law == "rl" else distance
        return float(distance * (self.alpha.value - self.beta.value * bend))


class GoodhartPoint(Record):
    """One objective at one step: gains over the reference policy on the same prompts, in reference sd."""

    step: int
    distance: float
    proxy: Estimate
    """By the reward model that PPO is paid by."""
    auditor: Estimate | None = None
    """By the reward model that nothing is trained against."""
    gold: Estimate | None = None
    gap: Estimate | None = None
    """Proxy minus auditor."""
    gold_gap: Estimate | None = None
    """Proxy minus gold."""


class Goodhart(Record):
    """One objective over a PPO run."""

    objective: str
    points: tuple[GoodhartPoint, ...]
    fits: dict[str, GaoFit] = Field(default_factory=dict)
    """`proxy`, `auditor`, `gold` -> its curve, where there are points enough."""
    parted_at: int | None = None
    """The first step at which the truth (gold, or else the auditor) has fallen from its best by more than its interval
    while the proxy has risen."""
    kept: float | None = None
    """Gain of the truth at `policy_step`, as a share of the best that was seen; none where that best gain's interval
    holds 0."""
    policy_step: int
    """The watched step that became the policy, or the last one before it."""


def fit_gao(
    distances: ArrayLike, gains: ArrayLike, *, law: Law = "rl", resamples: int = 1000, seed: int = 0
) -> GaoFit | None:
    """Fit gains (N, P), by prompt, at distances (N,) by least squares through (0, 0); prompts are resampled.

    None when fewer than `MIN_POINTS` different distances lie above 0.
    """
    d, table = np.asarray(distances, dtype=float), np.asarray(gains, dtype=float)
    away = d > 0
    if len(np.unique(d[away])) < MIN_POINTS:
        return None
    d, table = d[away], table[away]
    design = np.stack([d, -d * (np.log(d) if law == "rl" else d)], axis=1)
    solve = np.linalg.pinv(design)
    value = solve @ table.mean(axis=1)
    resampled = bootstrap_means(table.T, resamples, seed) @ solve.T
    low, high = np.percentile(resampled, [2.5, 97.5], axis=0)
    alpha, beta = (
        Estimate(value=float(value[i]), low=float(low[i]), high=float(high[i]), n=table.shape[1]) for i in range(2)
    )
    fit = GaoFit(law=law, alpha=alpha, beta=beta, seen=float(d.max()), points=len(d))
    return fit.model_copy(update=_peak(fit))


def _peak(fit: GaoFit) -> dict[str, object]:
    """Where the curve turns, or why that is not said."""
    if fit.beta.high <= 0:
        return {"refusal": "the curve does not bend down: its beta is not above 0"}
    # By rounding the interval of a straight line can lie above 0 and its value at 0.
    if min(fit.beta.low, fit.beta.value) <= 0:
        return {"refusal": "whether the curve bends is not known: beta's interval contains 0"}
    alpha, beta = fit.alpha.value, fit.beta.value
    with np.errstate(over="ignore"):
        peak = float(np.exp(alpha / beta - 1)) if fit.law == "rl" else alpha / (2 * beta)
    if not 0 < peak <= fit.seen:
        return {"refusal": f"the peak would lie outside of what was seen, sqrt(KL) up to {fit.seen:.2f}"}
    return {"peak": peak, "peak_gain": fit.gain(peak)}


def goodhart(
    points: Sequence[WatchPoint],
    gold_sd: float | None = None,
    policy_step: int | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Goodhart | None:
    """Return one objective's watched steps, the reference at step 0 among them; None without it or without a later one.

    Gold is measured in `gold_sd`, its spread over the reference policy's samples; without that it is left out.
    `policy_step` is the step that became the policy; None takes the last.
    """
    rows = sorted(points, key=lambda point: point.step)
    if len(rows) < 2 or rows[0].step != 0:
        return None
    # The reference is at 0 from itself, whatever rounding made of that.
    distances = np.sqrt([0.0, *(max(0.0, row.kl) for row in rows[1:])])
    gains = _tables(rows, gold_sd)
    estimates = {
        name: [mean_estimate(row, resamples=resamples, seed=seed) for row in table] for name, table in gains.items()
    }
    found = tuple(
        GoodhartPoint(
            step=row.step, distance=float(distances[i]), **{name: column[i] for name, column in estimates.items()}
        )
        for i, row in enumerate(rows)
    )
    fits = {
        name: fit
        for name, table in gains.items()
        if "gap" not in name and (fit := fit_gao(distances, table, resamples=resamples, seed=seed)) is not None
    }
    judge = "gold" if "gold" in gains else "auditor"
    truth = gains.get(judge)
    final = max(i for i, row in enumerate(rows) if policy_step is None or row.step <= policy_step)
    return Goodhart(
        objective=rows[0].objective,
        points=found,
        fits=fits,
        parted_at=None if truth is None else _parted(rows, gains["proxy"], truth),
        kept=None if truth is None else _kept(estimates[judge], final),
        policy_step=rows[final].step,
    )


def _tables(rows: Sequence[WatchPoint], gold_sd: float | None) -> dict[str, Array]:
    """Gains and gaps (N, P) by the names of a GoodhartPoint, those that are known."""
    gains = {"proxy": _gains([row.proxy for row in rows])}
    if all(row.auditor for row in rows):
        gains["auditor"] = _gains([row.auditor for row in rows])
        gains["gap"] = gains["proxy"] - gains["auditor"]
    if gold_sd and all(row.gold for row in rows):
        gains["gold"] = _gains([row.gold for row in rows]) / gold_sd
        gains["gold_gap"] = gains["proxy"] - gains["gold"]
    return gains


def _gains(rows: Sequence[tuple[float, ...]]) -> Array:
    """(N, P): each step's values by prompt, less those of the reference."""
    table = np.array(rows, dtype=float)
    return table - table[0]


def _kept(truth: Sequence[Estimate], final: int) -> float | None:
    best = max(truth, key=lambda gain: gain.value)
    return truth[final].value / best.value if best.low > 0 else None


def _parted(rows: Sequence[WatchPoint], proxy: Array, truth: Array) -> int | None:
    steps = (rows[now].step for now in range(1, len(rows)) if _apart(proxy, truth, now, 1.96))
    return next(steps, None)


def _apart(proxy: Array, truth: Array, now: int, standard_errors: float) -> bool:
    """Whether at row `now` of (N, P) tables the truth lies below its best so far, while the proxy has risen since."""
    best = int(np.argmax(truth[: now + 1].mean(axis=1)))
    drop = truth[best] - truth[now]
    error = drop.std(ddof=1) / np.sqrt(len(drop)) if len(drop) > 1 else np.inf
    fallen = drop.mean() > 0 and drop.mean() > standard_errors * error
    return bool(fallen and proxy[now].mean() > proxy[best].mean())


def parted(points: Sequence[WatchPoint], patience: int, standard_errors: float) -> list[str]:
    """Return the objectives whose proxy rose while their auditor fell, at each of the last `patience` watched steps.

    A rule on the weighted sum would miss one objective that is gamed while the others still gain. Without auditors
    nothing is found; gold is not looked at.
    """
    found = []
    for name in dict.fromkeys(point.objective for point in points):
        rows = sorted((p for p in points if p.objective == name), key=lambda point: point.step)
        if len(rows) <= patience or not all(row.auditor for row in rows):
            continue
        proxy, auditor = np.array([row.proxy for row in rows]), np.array([row.auditor for row in rows])
        last = range(len(rows) - patience, len(rows))
        if all(_apart(proxy, auditor, now, standard_errors) for now in last):
            found.append(name)
    return found


def best_step(points: Sequence[WatchPoint], weights: Mapping[str, float], standard_errors: float) -> int:
    """Return the last watched step that is as good as the best by the auditors, the reference left out.

    A step is worth the weighted mean of the auditors' scores, and as good as another where it lies lower by at most so
    many standard errors of the difference, paired by prompt: the one-standard-error rule (Breiman et al. 1984, 3.4.3).
    The bare maximum over many steps would mostly choose noise, and with it an early step. 0 without any auditor.
    """
    totals: dict[int, Array] = {}
    for point in sorted(points, key=lambda point: point.step):
        if point.step and point.auditor:
            share = weights.get(point.objective, 0.0) * np.array(point.auditor)
            totals[point.step] = totals[point.step] + share if point.step in totals else share
    if not totals:
        return 0
    best = max(totals.values(), key=lambda total: total.mean())
    return max(step for step, total in totals.items() if _as_good(best - total, standard_errors))


def _as_good(drop: Array, standard_errors: float) -> bool:
    """Whether a mean over prompts (P,) has not fallen further than its error."""
    error = drop.std(ddof=1) / np.sqrt(len(drop)) if len(drop) > 1 else 0.0
    return bool(drop.mean() <= standard_errors * error)
