"""Draw prompts by a seed and a purpose: as they come, or each kind of prompt as often as any other."""

from __future__ import annotations

import random

from rlhf_core.records.samples import Prompt


def draw(prompts: list[Prompt], count: int, seed: int, purpose: str) -> list[Prompt]:
    """Draw `count` prompts in a random order, repeating none before all have had their turn."""
    rng = random.Random(f"{seed}:{purpose}")
    drawn: list[Prompt] = []
    while len(drawn) < count:
        drawn += rng.sample(prompts, len(prompts))
    return drawn[:count]


def draw_evenly(prompts: list[Prompt], count: int, seed: int, purpose: str) -> list[Prompt]:
    """Draw as `draw` does, but the sets of tags take turns, however rare one is."""
    kinds: dict[tuple[str, ...], list[Prompt]] = {}
    for prompt in prompts:
        kinds.setdefault(prompt.tags, []).append(prompt)
    turns = [iter(draw(own, count, seed, f"{purpose}:{tags}")) for tags, own in sorted(kinds.items())]
    return [next(turns[turn % len(turns)]) for turn in range(count)]
