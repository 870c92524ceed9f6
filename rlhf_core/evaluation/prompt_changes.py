"""Wins and losses by prompt: what the last policy says better and worse than the first, by the best judge there is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from rlhf_core.evaluation.gains import Judged
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.records.base import Record

SHOWN = 8
"""Prompts of either kind, in a report."""
SAME = 1e-9
"""Reference standard deviations; two replies this near are worth the same."""


class PromptChange(Record):
    """One held-out prompt, and what it is worth that another policy answers it."""

    prompt: str
    before: str
    after: str
    change: float
    """Of the weighted score, in reference standard deviations."""
    objectives: dict[str, float] = Field(default_factory=dict)
    """Objective -> change in its own unit."""


class PromptChanges(Record):
    judge: str
    better: int
    same: int
    worse: int
    worst: tuple[PromptChange, ...] = ()
    """The largest losses first."""
    best: tuple[PromptChange, ...] = ()
    """The largest gains first."""


def prompt_changes(first: PolicyRows, last: PolicyRows, judged: Judged, order: Sequence[str]) -> PromptChanges:
    """Set two policies against each other prompt by prompt; `order` is that of the rows of `judged.scores`."""
    before, after = judged.scores[first.name], judged.scores[last.name]
    change = (after - before) @ judged.towards
    asked = {sample.prompt.id: sample.prompt.messages[-1].content for sample in first.samples}
    said = [{sample.prompt.id: sample.response for sample in reversed(rows.samples)} for rows in (first, last)]

    def told(row: int) -> PromptChange:
        prompt = order[row]
        moved = (after[row] - before[row]).tolist()
        return PromptChange(
            prompt=asked[prompt],
            before=said[0][prompt],
            after=said[1][prompt],
            change=float(change[row]),
            objectives=dict(zip(judged.objectives, moved, strict=True)),
        )

    ranked = np.argsort(change, kind="stable").tolist()
    return PromptChanges(
        judge=judged.judge,
        better=int((change > SAME).sum()),
        same=int((np.abs(change) <= SAME).sum()),
        worse=int((change < -SAME).sum()),
        worst=tuple(told(row) for row in ranked[:SHOWN] if change[row] < -SAME),
        best=tuple(told(row) for row in ranked[::-1][:SHOWN] if change[row] > SAME),
    )
