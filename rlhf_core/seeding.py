"""Numbers that are fixed by what they belong to: draws from ids, and seeds from their parts."""

from __future__ import annotations

import hashlib

UNIFORM_SLICE = 0.2
"""Share of comparisons that people are asked about with no regard to what the AI made of them."""


def uniform_draw(identity: str) -> float:
    """Draw a number in [0, 1) that is fixed by the id and says nothing of the content."""
    return int(hashlib.sha256(f"draw\x1f{identity}".encode()).hexdigest()[:8], 16) / 2**32


def is_swapped(labeler: str, comparison_id: str) -> bool:
    """Tell whether this labeler sees the pair's sample b on the left: fixed for the two, even over all pairs."""
    return hashlib.sha256(f"{labeler}\x1f{comparison_id}".encode()).digest()[0] % 2 == 1


def derived_seed(*parts: object) -> int:
    """Derive a seed that depends on all parts and on nothing else."""
    return int.from_bytes(hashlib.sha256("|".join(map(str, parts)).encode()).digest()[:8], "big") >> 1
