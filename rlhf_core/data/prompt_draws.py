"""Draw prompts by a seed and a purpose: as they come, or each kind of prompt as often as any other."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

from rlhf_core.records.samples import Prompt


def draw(prompts: list[Prompt], count: int, seed: int, purpose: str) -> list[Prompt]:
    """Draw `count` prompts in a random order, repeating none before all have had their turn."""
    rng = random.Random(f"{seed}:{purpose}")
    drawn: list[Prompt] = []
    while len(drawn) < count:
        drawn += rng.sample(prompts, len(prompts))
    return drawn[:count]


def draw_evenly(
    prompts: list[Prompt], count: int, seed: int, purpose: str, beside: Sequence[Prompt] = ()
) -> list[Prompt]:
    """Draw as `draw` does, but of each set of tags as many as of any other, to one, however rare it is.

    Those `beside` count too, so that where they are uneven the draw makes up for it as far as it goes.
    """
    kinds: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in prompts:
        kinds.setdefault(prompt.tags, []).append(prompt)
    turns = {tags: iter(draw(own, count, seed, f"{purpose}:{tags}")) for tags, own in sorted(kinds.items())}
    so_far = Counter(prompt.tags for prompt in beside)
    drawn: list[Prompt] = []
    for _ in range(count):
        drawn.append(next(turns[min(turns, key=lambda tags: so_far[tags])]))
        so_far[drawn[-1].tags] += 1
    return drawn
