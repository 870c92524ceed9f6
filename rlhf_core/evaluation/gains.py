"""What each part of the training added: differences of policies on the same held-out prompts, paired by prompt."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from pydantic import Field

from rlhf_core.evaluation.policy_rows import PromptTable
from rlhf_core.evaluation.statistics import Array, Estimate, cluster_bootstrap, difference_estimate
from rlhf_core.records.base import Record
from rlhf_core.records.models import NormPack

SHIPPED, TUNED, CONTROL, TRAINED = "before training", "after SFT", "control", "after PPO"
"""What a run's policies are called; the control is PPO without its rewards."""
ADDED: Mapping[tuple[str, str], str] = {
    (SHIPPED, TUNED): "critique, revision and SFT",
    (TUNED, CONTROL): "PPO without its rewards",
    (CONTROL, TRAINED): "the rewards",
    (TUNED, TRAINED): "PPO, rewards and all",
    (SHIPPED, TRAINED): "everything",
}


class Gain(Record):
    """What lies between two policies. The score is the weighted one, in reference standard deviations."""

    name: str
    before: str
    after: str
    judge: str
    """`gold`, `auditor` or `reward model`: whose scores these are."""
    weighted: Estimate
    objectives: dict[str, Estimate] = Field(default_factory=dict)
    """Objective -> difference in its own unit."""
    way: Estimate | None = None
    """Share of the way from the first policy to the best possible, where that is known."""

    @property
    def is_shown(self) -> bool:
        """Tell whether a gain's interval lies above 0."""
        return self.weighted.low > 0


class Judged(NamedTuple):
    """One judge's scores (P, K) by policy, and the vector (K,) that weighs them; `best` (P, K) where it is known."""

    judge: str
    objectives: Sequence[str]
    scores: Mapping[str, Array]
    towards: Array
    best: Array | None = None


def gains(judged: Judged, *, resamples: int = 1000, seed: int = 0) -> tuple[Gain, ...]:
    """Return the gains from each policy to the next, in the order of `judged.scores`.

    The gain from the first to the last of several comes at the end.
    """
    names = list(judged.scores)
    pairs = list(itertools.pairwise(names))
    if len(pairs) > 1:
        pairs.append((names[0], names[-1]))
    return tuple(_gain(judged, before, after, resamples, seed) for before, after in pairs)


def judged_by_models(
    policies: Sequence[PromptTable], weights: Mapping[str, float], packs: Mapping[str, NormPack | None]
) -> list[Judged]:
    """Return the policies as reward models score them, for each judge that has a NormPack.

    Each judge weighs the objectives that it knows; one that knows none of those with a weight is left out.
    """
    found: list[Judged] = []
    for judge, pack in packs.items():
        if pack is None or not sum(weights.get(name, 0.0) for name in pack.objectives):
            continue
        shares = np.array([weights.get(name, 0.0) for name in pack.objectives])
        scores = {
            table.policy.name: np.stack([table.proxy(name, pack) for name in pack.objectives], axis=1)
            for table in policies
        }
        found.append(Judged(judge, pack.objectives, scores, shares / shares.sum()))
    return found


def _gain(judged: Judged, before: str, after: str, resamples: int, seed: int) -> Gain:
    a, b = judged.scores[before], judged.scores[after]
    objectives = {
        name: difference_estimate(a[:, k], b[:, k], resamples=resamples, seed=seed)
        for k, name in enumerate(judged.objectives)
    }
    start, end = a @ judged.towards, b @ judged.towards
    return Gain(
        name=ADDED.get((before, after), f"from {before} to {after}"),
        before=before,
        after=after,
        judge=judged.judge,
        weighted=difference_estimate(start, end, resamples=resamples, seed=seed),
        objectives=objectives,
        way=_way(judged, start, end, resamples, seed),
    )


def _way(judged: Judged, start: Array, end: Array, resamples: int, seed: int) -> Estimate | None:
    """(end - start) / (best - first policy), of means over prompts that are drawn together."""
    if judged.best is None:
        return None
    first, best = next(iter(judged.scores.values())) @ judged.towards, judged.best @ judged.towards
    if best.mean() - first.mean() <= 1e-9:
        return None

    def share(columns: Array) -> Array:
        with np.errstate(divide="ignore", invalid="ignore"):
            return (columns[:, 1] - columns[:, 0]) / (columns[:, 3] - columns[:, 2])

    found = cluster_bootstrap(np.stack([start, end, first, best], axis=1), share, resamples=resamples, seed=seed)
    return found if np.isfinite([found.low, found.high]).all() else None
