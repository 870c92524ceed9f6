"""Which prompts a run trains on, and which it keeps for evaluation; the same seed always draws the same ones."""

from __future__ import annotations

import hashlib
import random

from rlhf_core.data.loaders import load_prompts
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Prompt, Split
from rlhf_core.stages.context import Context

HELDOUT_SHARE = 0.1


def prompts_of(ctx: Context, split: Split) -> list[Prompt]:
    """The run's prompts of one split: the user's file, or the built-in world's tasks.

    Without a file of held-out prompts a tenth of the user's prompts is kept back, chosen by their text.
    """
    data = ctx.config.data
    if data.prompts is None:
        found = [prompt for prompt in (ctx.tools.world.prompts if ctx.tools.world else ()) if prompt.split == split]
    elif data.heldout_prompts is not None:
        found = _from_two_files(data.prompts, data.heldout_prompts, split)
    else:
        loaded = load_prompts(data.prompts)
        kept_back = {prompt.id for prompt in sorted(loaded, key=_rank)[: max(1, int(len(loaded) * HELDOUT_SHARE))]}
        found = [
            prompt.model_copy(update={"split": split})
            for prompt in loaded
            if (prompt.id in kept_back) == (split == "heldout")
        ]
    if not found:
        raise InvalidInput(f"no {split} prompts; give at least 2 prompts in data.prompts", field="data.prompts")
    return sorted(found, key=lambda prompt: prompt.id)


def _from_two_files(train: str, heldout: str, split: Split) -> list[Prompt]:
    trained, kept = load_prompts(train, "train"), load_prompts(heldout, "heldout")
    both = {prompt.id for prompt in trained} & {prompt.id for prompt in kept}
    if both:
        raise InvalidInput(
            f"{len(both)} prompts stand both in '{train}' and in '{heldout}'; a held-out prompt must not be trained on",
            field="data.heldout_prompts",
        )
    return trained if split == "train" else kept


def draw(prompts: list[Prompt], count: int, seed: int, purpose: str) -> list[Prompt]:
    """`count` prompts in a random order, repeating none before all have had their turn."""
    rng = random.Random(f"{seed}:{purpose}")
    drawn: list[Prompt] = []
    while len(drawn) < count:
        drawn += rng.sample(prompts, len(prompts))
    return drawn[:count]


def _rank(prompt: Prompt) -> str:
    return hashlib.sha256(prompt.id.encode()).hexdigest()
