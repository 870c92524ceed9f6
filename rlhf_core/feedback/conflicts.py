"""Principles that contradict each other about a pair: the one that goes before silences those on the other side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from rlhf_core.config import LabelConfig
from rlhf_core.constitution.schema import Principle
from rlhf_core.feedback.tally import alone, side
from rlhf_core.records import Vote


def heard(
    principles: Sequence[Principle], votes: Sequence[Vote], places: Mapping[str, int], config: LabelConfig
) -> tuple[Principle, ...]:
    """Those of the principles whose votes on one pair count, in their order; `places` as of Constitution.precedence.

    A principle is silent where one that goes before it, and is not silent itself, takes the other side, each by its own
    votes and whatever their weights. Who takes no side, or has no weight, silences nobody.
    """
    ranks = sorted({places[principle.id] for principle in principles})
    if len(ranks) < 2:
        return tuple(principles)
    cast: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        cast[vote.principle_hash].append(vote)
    sides = {p.id: side(alone(cast[p.hash]), config) if p.weight else 0 for p in principles}
    counted: set[str] = set()
    for rank in ranks:
        opposed = {-sides[name] for name in counted} - {0}
        counted |= {p.id for p in principles if places[p.id] == rank and sides[p.id] not in opposed}
    return tuple(principle for principle in principles if principle.id in counted)
