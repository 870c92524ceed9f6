"""Which pairs people should label first: those from which the next reward model is expected to learn most."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rlhf_core.records.feedback import Preference
from rlhf_core.records.queue import PairInformation

Array = NDArray[np.float64]


def expected_information(margins: Array) -> Array:
    """Return, in bits (N,), what a label of each pair is expected to tell of which head of an ensemble is right.

    `margins` (N, M) are differences in score by each head, the log-odds of a. H(mean_m p_m) - mean_m H(p_m): high where
    the heads are each sure and contradict each other, 0 where all say the same, be it that nobody can tell (Houlsby et
    al. 2011, BALD).
    """
    chances = 1 / (1 + np.exp(-np.clip(margins, -30, 30)))
    return np.maximum(0, _entropy(chances.mean(1)) - _entropy(chances).mean(1))


def _entropy(chance: Array) -> Array:
    clipped = np.clip(chance, 1e-12, 1 - 1e-12)
    return -(clipped * np.log2(clipped) + (1 - clipped) * np.log2(1 - clipped))


def coverage_debts(judged_by: Mapping[str, Collection[str]], labels: Mapping[str, int]) -> dict[str, float]:
    """Return the debt of each pair: 1 / (1 + n), n being the labels on pairs that its rarest principle judges.

    `judged_by` are the principles that voted on each pair, `labels` how many labels people gave on it. A pair that no
    principle judges owes nothing.
    """
    labelled: Counter[str] = Counter()
    for pair, principles in judged_by.items():
        for principle in principles:
            labelled[principle] += labels.get(pair, 0)
    return {
        pair: 1 / (1 + min(labelled[principle] for principle in principles)) if principles else 0.0
        for pair, principles in judged_by.items()
    }


def pair_information(
    pairs: Sequence[str],
    objective: str,
    run_id: str,
    margins: Array,
    judged: Mapping[str, Preference],
    debts: Mapping[str, float],
) -> list[PairInformation]:
    """Set beside each other what each pair (N,) is worth asking for. `judged` are the judge's labels by pair."""
    bits, spread = expected_information(margins), margins.std(1, ddof=1)
    by_model = (1 / (1 + np.exp(-np.clip(margins, -30, 30)))).mean(1)
    found = []
    for place, pair in enumerate(pairs):
        label = judged.get(pair)
        abstained = label is not None and label.abstained and label.reason != "no_principle"
        told = label is not None and not label.abstained
        disagreement = 0.0
        if label is not None and told:
            disagreement = max(abs(label.probability - float(by_model[place])), label.disagreement)
        coverage = debts.get(pair, 0.0)
        found.append(
            PairInformation(
                comparison_id=pair,
                objective=objective,
                run_id=run_id,
                information=float(bits[place]),
                spread=float(spread[place]),
                abstained=abstained,
                disagreement=disagreement,
                coverage=coverage,
                priority=float(bits[place]) * (1 + abstained + disagreement + coverage),
            )
        )
    return found
