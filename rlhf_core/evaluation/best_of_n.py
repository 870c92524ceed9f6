"""Best-of-n: what choosing by a reward model gains, without any training. The cheap test of a reward model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.overoptimization import GaoFit, fit_gao
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.statistics import Array, Estimate, mean_estimate
from rlhf_core.records.base import Record
from rlhf_core.records.models import NormPack


class BestOfN(Record):
    """One objective's curve over n: what is chosen by the proxy, and what it is worth by each judge of it."""

    objective: str
    n: tuple[int, ...]
    kl: tuple[float, ...]
    """Nats from the policy that the samples are of: log n - (n - 1) / n, which is exact without ties."""
    gains: dict[str, tuple[Estimate, ...]]
    """`proxy`, `auditor`, `gold` -> gain over one sample, in reference sd."""
    fits: dict[str, GaoFit]
    accepted: bool | None
    """Whether choosing by the proxy gains by the auditor at the largest n; none without an auditor."""


def best_of_n_kl(n: int) -> float:
    """Return KL(best of n || one sample) in nats (Stiennon et al. 2020, appendix G.3)."""
    return math.log(n) - (n - 1) / n


def best_of_n(proxy: ArrayLike, values: ArrayLike, counts: Sequence[int]) -> Array:
    """Return (P, len(counts)): by prompt, the unbiased mean value of the best of n by proxy, from N >= n samples each.

    proxy, values (P, N). The sample of rank i (from 1, by proxy) is the best of n drawn without replacement in
    C(i-1, n-1) of C(N, n) draws (Nakano et al. 2021, appendix I); samples of equal proxy share their mean value.
    """
    scores, table = np.asarray(proxy, dtype=float), np.asarray(values, dtype=float)
    size = scores.shape[1]
    wrong = [n for n in counts if not 1 <= n <= size]
    if wrong:
        raise InvalidInput(f"best of {wrong[0]} of {size} samples; allowed: 1 to {size}")
    ranked = np.stack([_ranked(row, worth) for row, worth in zip(scores, table, strict=True)])
    shares = np.array([[math.comb(i, n - 1) / math.comb(size, n) for n in counts] for i in range(size)])
    return ranked @ shares


def _ranked(scores: Array, values: Array) -> Array:
    """Values by rising score; those of equal scores replaced by their mean."""
    _, group, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    means = np.bincount(group, weights=values) / sizes
    return np.repeat(means, sizes)


def doublings(size: int) -> tuple[int, ...]:
    """Return 1, 2, 4 and so on up to `size`."""
    return tuple(2**power for power in range(size.bit_length()))


def best_of_n_curve(
    objective: str, judges: Mapping[str, ArrayLike], *, resamples: int = 1000, seed: int = 0
) -> BestOfN:
    """Compute one objective's curve over n.

    `judges` holds scores (P, N) in reference sd: `proxy`, and `auditor` and `gold` where they are known.
    """
    proxy = np.asarray(judges["proxy"], dtype=float)
    counts = doublings(proxy.shape[1])
    kl = [best_of_n_kl(n) for n in counts]
    gains: dict[str, tuple[Estimate, ...]] = {}
    fits: dict[str, GaoFit] = {}
    for name, values in judges.items():
        worth = best_of_n(proxy, values, counts)
        table = (worth - worth[:, :1]).T
        gains[name] = tuple(mean_estimate(row, resamples=resamples, seed=seed) for row in table)
        fit = fit_gao(np.sqrt(kl), table, law="best_of_n", resamples=resamples, seed=seed)
        fits |= {name: fit} if fit else {}
    accepted = gains["auditor"][-1].low > 0 if "auditor" in gains else None
    return BestOfN(objective=objective, n=counts, kl=tuple(kl), gains=gains, fits=fits, accepted=accepted)


def best_of_n_curves(
    policy: PolicyRows,
    pack: NormPack,
    auditor_pack: NormPack | None = None,
    gold_sd: Mapping[str, float] | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[BestOfN, ...]:
    """Return each objective's curve, from stored rows of as many samples for every prompt."""
    order = list(dict.fromkeys(sample.prompt.id for sample in policy.samples))
    place = {identity: row for row, identity in enumerate(order)}
    # By prompt; a prompt's samples keep the order in which they were stored.
    ids = [s.id for s in sorted(policy.samples, key=lambda sample: place[sample.prompt.id])]
    curves = []
    for index, name in enumerate(pack.objectives):
        judges = {"proxy": _standardised(policy, pack, index)}
        if auditor_pack:
            judges["auditor"] = _standardised(policy, auditor_pack, auditor_pack.objectives.index(name))
        sd = (gold_sd or {}).get(name, 0.0)
        if sd > 0:
            judges["gold"] = {row.sample_id: row.score / sd for row in policy.gold if row.kind == name}
        tables = {who: np.array([found[i] for i in ids]).reshape(len(order), -1) for who, found in judges.items()}
        curves.append(best_of_n_curve(name, tables, resamples=resamples, seed=seed))
    return tuple(curves)


def _standardised(policy: PolicyRows, pack: NormPack, index: int) -> dict[str, float]:
    version, mean, sd = pack.reward_models[index], pack.mean[index], pack.sd[index]
    return {row.sample_id: (row.score - mean) / sd for row in policy.scores if row.reward_model == version}
