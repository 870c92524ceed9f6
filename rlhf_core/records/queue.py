"""Why people are asked about one pair before another."""

from __future__ import annotations

from rlhf_core.records.base import Record


class PairInformation(Record):
    """What a person's label of one pair and objective is expected to tell, by the run that computed it last."""

    comparison_id: str
    objective: str
    run_id: str
    """Empty where that run was deleted."""
    information: float
    """Of the reward models' heads about each other's opinion, in bits from 0 to 1."""
    spread: float
    """Standard deviation over the heads of the difference in score."""
    abstained: bool
    """The judge gave no label."""
    disagreement: float
    """|probability by the judge - by the reward model|, from 0 to 1; 0 where the judge gave none. Of a panel the
    difference of its judges who are farthest apart, where that is more."""
    coverage: float
    """From 0 to 1: how little is labelled of what the pair's rarest principle judges."""
    priority: float
    """information x (1 + abstained + disagreement + coverage)."""
