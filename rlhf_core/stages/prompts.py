"""Which prompts a run trains on, and which it keeps for evaluation; the same seed always draws the same ones."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Prompt, Split
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.heldout import HeldOut
from rlhf_core.stages.imported.own_rows import PROMPTS, rows_of

HELDOUT_SHARE = 0.1


class Prompts(NamedTuple):
    """A run's prompts, in the order of their ids."""

    train: list[Prompt]
    heldout: list[Prompt]
    alike: int
    """Training prompts of the user's that were left out, as a held-out one asks the same."""


def prompts_of(ctx: Context, split: Split) -> list[Prompt]:
    """Return the run's prompts of one split. Raises InvalidInput where there are none."""
    every = all_prompts(ctx)
    found = every.train if split == "train" else every.heldout
    if not found:
        left_out = f"; {every.alike} were left out, as a held-out prompt asks the same" if every.alike else ""
        raise InvalidInput(
            f"no {split} prompts; give at least 2 prompts in data.prompts{left_out}", field="data.prompts"
        )
    return found


def ppo_prompts(ctx: Context) -> list[Prompt]:
    """Return the prompts of PPO and its control: those for training, or of them what `ppo.unseen_prompts` leaves."""
    everything = prompts_of(ctx, "train")
    if not ctx.config.ppo.unseen_prompts or "critique" not in ctx.results:
        return everything
    asked = {sample.prompt.id for sample in ctx.store.samples.of_run(ctx.need("critique").run_id, stage="critique")}
    unseen = [prompt for prompt in everything if prompt.id not in asked]
    if not unseen:
        ctx.note("ppo.unseen_prompts: critique asked every prompt for training, so PPO asks them again")
    return unseen or everything


def heldout_of(ctx: Context) -> HeldOut:
    """Return what nothing may be trained on in this run; nothing where it has no prompts."""
    return HeldOut.of(all_prompts(ctx).heldout)


def all_prompts(ctx: Context) -> Prompts:
    """Return the prompts of the user's files, or the built-in world's tasks.

    Without a file of held-out prompts a tenth of the user's prompts is kept back, chosen by their text.
    """
    data = ctx.config.data
    if data.prompts is None:
        world = ctx.tools.world.prompts if ctx.tools.world else ()
        train, heldout = ([prompt for prompt in world if prompt.split == split] for split in ("train", "heldout"))
    elif data.heldout_prompts is not None:
        train, heldout = _from_two_files(ctx, data.prompts, data.heldout_prompts)
    else:
        loaded = _loaded(ctx, data.prompts)
        kept_back = {prompt.id for prompt in sorted(loaded, key=_rank)[: max(1, int(len(loaded) * HELDOUT_SHARE))]}
        train = [prompt for prompt in loaded if prompt.id not in kept_back]
        heldout = [_held_out(prompt) for prompt in loaded if prompt.id in kept_back]
    apart = train
    if data.prompts is not None:
        held_out = HeldOut.of(heldout)
        apart = [prompt for prompt in train if not held_out.asks(prompt)]
    return Prompts(_in_order(apart), _in_order(heldout), len(train) - len(apart))


def _in_order(prompts: list[Prompt]) -> list[Prompt]:
    return sorted(prompts, key=lambda prompt: prompt.id)


def _loaded(ctx: Context, path: str) -> list[Prompt]:
    """The prompts of a file, each once."""
    return list({prompt.id: prompt for prompt in rows_of(ctx, path, PROMPTS)}.values())


def _held_out(prompt: Prompt) -> Prompt:
    return prompt.model_copy(update={"split": "heldout"})


def _from_two_files(ctx: Context, train: str, heldout: str) -> tuple[list[Prompt], list[Prompt]]:
    trained, kept = _loaded(ctx, train), [_held_out(prompt) for prompt in _loaded(ctx, heldout)]
    both = {prompt.id for prompt in trained} & {prompt.id for prompt in kept}
    if both:
        raise InvalidInput(
            f"{len(both)} prompts stand both in '{train}' and in '{heldout}'; a held-out prompt must not be trained on",
            field="data.heldout_prompts",
        )
    return trained, kept


def _rank(prompt: Prompt) -> str:
    return hashlib.sha256(prompt.id.encode()).hexdigest()
