"""Two raters or two versions on the same items: exact tests, and how far they agree."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.errors import InvalidInput
from rlhf_core.evaluation.statistics import Estimate, wilson
from rlhf_core.records.base import Record

REDUNDANT, CONFLICTING = 0.95, 0.4
"""Two principles that agree more often than the first, or less often than the second, want their author's attention."""
MIN_SHARED = 10
"""Items that two raters must both decide before their agreement says anything."""


class Agreement(Record):
    """How often two raters point the same way, of the `n` items on which both point anywhere."""

    first: str
    second: str
    n: int
    share: Estimate | None
    """None where they share no item."""
    finding: str = ""
    """`redundant`, `conflicting` or nothing."""


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return the two-sided exact p that the two discordant counts differ by chance.

    p = 2 P(X <= min), X ~ Binomial(sum, 1/2).

    McNemar 1947, with the binomial in place of the normal; 1 where nothing is discordant.
    """
    if only_first < 0 or only_second < 0:
        raise InvalidInput(f"discordant counts {only_first} and {only_second}; allowed: whole numbers of at least 0")
    total = only_first + only_second
    tail = ways = 1
    for k in range(min(only_first, only_second)):
        ways = ways * (total - k) // (k + 1)  # total choose k + 1
        tail += ways
    return min(1.0, 2 * tail / 2**total)


def agreement(first: str, second: str, sides: Sequence[tuple[int, int]]) -> Agreement:
    """Return agreement over items; a side is +1, -1, or 0 where that rater does not decide."""
    decided = [(a, b) for a, b in sides if a and b]
    if not decided:
        return Agreement(first=first, second=second, n=0, share=None)
    share = wilson(sum(a == b for a, b in decided), len(decided))
    finding = ""
    if len(decided) >= MIN_SHARED:
        finding = "redundant" if share.value > REDUNDANT else "conflicting" if share.value < CONFLICTING else ""
    return Agreement(first=first, second=second, n=len(decided), share=share, finding=finding)
