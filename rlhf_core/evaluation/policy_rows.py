"""The stored rows that evaluation reads, joined by sample and averaged by prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Array, prompt_means
from rlhf_core.records.models import GoldScore, NormPack, Score
from rlhf_core.records.samples import Sample

HARM = "harm:"
"""Prefix of a gold score that grades one kind of harm."""


class PolicyRows(NamedTuple):
    """One policy's stored rows on the held-out prompts. `gold` is empty where no truth is known."""

    name: str
    policy_version: str
    samples: Sequence[Sample]
    scores: Sequence[Score] = ()
    gold: Sequence[GoldScore] = ()


def gold_sd(rows: Sequence[GoldScore], objectives: Sequence[str]) -> dict[str, float]:
    """Return the standard deviation of each gold objective over the NormPack's reference-policy samples."""
    columns = {name: [row.score for row in rows if row.kind == name] for name in objectives}
    return {name: float(np.std(column, ddof=1)) if len(column) > 1 else 0.0 for name, column in columns.items()}


class PromptTable:
    """One policy's rows as per-prompt means in one order of prompts."""

    def __init__(self, policy: PolicyRows, order: Sequence[str]):
        self.policy = policy
        self.order = order
        self.prompts = [sample.prompt.id for sample in policy.samples]
        self.ids = [sample.id for sample in policy.samples]
        if set(self.prompts) != set(order):
            raise InvalidInput(
                f"evaluation: policy '{policy.name}' has other prompts; allowed: those of the first policy"
            )

    def means(self, values: Sequence[float]) -> Array:
        return prompt_means(values, self.prompts, self.order)

    def join(self, what: str, rows: Mapping[str, float], fallback: float | None = None) -> Array:
        """Return the means, by prompt, of values that are keyed by sample."""
        missing = [sample for sample in self.ids if sample not in rows]
        if missing and fallback is None:
            raise InvalidInput(f"{what}: sample '{missing[0]}' of '{self.policy.name}' has none; allowed: one for each")
        values = [rows.get(sample, fallback or 0.0) for sample in self.ids]
        if not np.isfinite(values).all():
            raise InvalidInput(f"{what} of '{self.policy.name}' is not finite; allowed: finite numbers")
        return self.means(values)

    def gold(self, kind: str) -> Array:
        fallback = 0.0 if kind.startswith(HARM) else None
        rows = {row.sample_id: row.score for row in self.policy.gold if row.kind == kind}
        return self.join(f"gold score '{kind}'", rows, fallback)

    def proxy(self, objective: str, pack: NormPack) -> Array:
        index = pack.objectives.index(objective)
        version, mean, sd = pack.reward_models[index], pack.mean[index], pack.sd[index]
        rows = {row.sample_id: (row.score - mean) / sd for row in self.policy.scores if row.reward_model == version}
        return self.join(f"score '{objective}' of reward model '{version}'", rows)
