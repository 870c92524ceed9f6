"""The frozen pairs on which two constitutions are compared, and which reply of each a flip should lead to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from rlhf_core.data.loaders import decided_pairs, load_preferences
from rlhf_core.effects.report import Direction, ProbeSummary
from rlhf_core.errors import InvalidInput
from rlhf_core.interfaces import World
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Comparison

DEFAULT_PAIRS = 200


class Probes(NamedTuple):
    """Pairs, and where they come from; `truth` knows more about pairs of a built-in world."""

    pairs: tuple[Comparison, ...]
    summary: ProbeSummary
    truth: World | None = None

    def direction(self, objective: str) -> Direction:
        """Return what is known of the better reply under this objective."""
        if self.truth is not None:
            return "gold" if objective in self.truth.gold.objectives else "longer"
        return "chosen"

    def toward(self, objective: str) -> list[int]:
        """Return for each pair +1 where a flip to a goes the way of `direction`, -1 where one to b does, else 0."""
        direction = self.direction(objective)
        if direction == "chosen":
            return [1] * len(self.pairs)
        if direction == "longer" or self.truth is None:
            return [_sign(len(pair.a.response) - len(pair.b.response)) for pair in self.pairs]
        gold = self.truth.gold
        return [
            _sign(
                gold.score(pair.prompt, pair.a.response)[objective]
                - gold.score(pair.prompt, pair.b.response)[objective]
            )
            for pair in self.pairs
        ]


def world_probes(world: World, n: int, seed: int) -> Probes:
    """Draw pairs of a built-in world, by the seed alone."""
    pairs = world.pairs(n, seed)
    return Probes(tuple(pairs), _summary("built-in tasks", pairs, seed), world)


def file_probes(path: str | Path, n: int, seed: int) -> Probes:
    """Draw pairs of a JSONL file of prompt, chosen and rejected, by the seed without replacement; all if fewer.

    Those in which neither reply is better are left out.
    """
    return chosen_probes(decided_pairs(load_preferences(path)), str(path), n, seed)


def chosen_probes(pairs: Sequence[Comparison], source: str, n: int, seed: int) -> Probes:
    """Return pairs whose reply a is the one that somebody chose. Raises InvalidInput where there is none."""
    unique = list({pair.id: pair for pair in pairs}.values())
    if not unique:
        raise InvalidInput(f"probes: {source} holds no pair; allowed: at least one", "probes")
    drawn = random.Random(seed).sample(unique, min(n, len(unique)))
    return Probes(tuple(drawn), _summary(source, drawn, seed))


def _summary(source: str, pairs: Sequence[Comparison], seed: int) -> ProbeSummary:
    identity = content_id("probes", *(part for p in pairs for part in (p.prompt.id, p.a.response, p.b.response)))
    return ProbeSummary(source=source, n=len(pairs), seed=seed, hash=identity)


def _sign(value: float) -> int:
    return (value > 1e-9) - (value < -1e-9)
