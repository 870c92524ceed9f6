"""Which texts say nearly the same: words in common, each the weightier the rarer it is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from itertools import combinations

NEAR = 0.75
"""Likeness from which two texts count as near duplicates."""
MAX_SHARED = 24
"""Words of more texts than this are everybody's words and say nothing about two of them."""

_WORD = re.compile(r"\w+")


def near_duplicates(texts: Sequence[str]) -> list[tuple[int, int, float]]:
    """Return pairs (i, j, likeness) with i < j: weighted Jaccard index of their words, at least NEAR.

    A word in n texts weighs 1 / n. Of texts that are equal word for word, each is paired with the first.
    """
    words = [frozenset(_WORD.findall(text.lower())) for text in texts]
    first: dict[frozenset[str], int] = {}
    pairs = [(first[bag], at, 1.0) for at, bag in enumerate(words) if bag and first.setdefault(bag, at) != at]
    distinct = sorted(first.values())
    holders: dict[str, list[int]] = defaultdict(list)
    for at in distinct:
        for word in words[at]:
            holders[word].append(at)
    common: dict[tuple[int, int], float] = defaultdict(float)
    total = [0.0] * len(texts)
    for who in holders.values():
        if len(who) <= MAX_SHARED:
            weight = 1 / len(who)
            for at in who:
                total[at] += weight
            for pair in combinations(who, 2):
                common[pair] += weight
    near = [(i, j, shared / (total[i] + total[j] - shared)) for (i, j), shared in common.items()]
    return sorted(pairs + [pair for pair in near if pair[2] >= NEAR])
