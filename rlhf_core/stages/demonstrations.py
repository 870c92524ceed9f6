"""What fine-tuning learns from: answers that passed the critic, the base's own, and the user's; what PPO replays."""

from __future__ import annotations

from typing import NamedTuple

from rlhf_core.data.prompt_draws import draw
from rlhf_core.datasets.passed import as_it_was, passed
from rlhf_core.records.samples import BASE_POLICY, Demonstration
from rlhf_core.stages.context import Context
from rlhf_core.stages.imported.own_rows import DEMONSTRATIONS, rows_of
from rlhf_core.stages.prompts import heldout_of, prompts_of
from rlhf_core.stages.samples import ended, sample_all

REPLAYED = 512
"""Answers of the base that PPO replays, at most."""


class Found(NamedTuple):
    demonstrations: list[Demonstration]
    counts: dict[str, int]
    """How many there are of each kind."""


def demonstrations_of(ctx: Context) -> Found:
    """Return what supervised fine-tuning learns from.

    That is `approved`, and where there was a critic a share of the base's answers.

    Those are as they were, to other prompts, and keep fine-tuning from losing help (Bai et al. 2022, section 3.2).
    """
    result = approved(ctx)
    if "critique" not in ctx.results:
        return result
    answered = {sample.prompt.id for sample in ctx.store.samples.of_run(ctx.need("critique").run_id, stage="critique")}
    others = [prompt for prompt in prompts_of(ctx, "train") if prompt.id not in answered]
    share = ctx.config.sft.helpful_share
    room = min(round(len(result.demonstrations) * share / (1 - share)), len(others))
    chosen = draw(others, room, ctx.config.seed, "helpful mix")
    samples = sample_all(ctx, "sft", chosen, BASE_POLICY, 1, ctx.config.critique.temperature)
    mix = [as_it_was(sample, "helpful") for sample in samples]
    return Found([*result.demonstrations, *mix], {**result.counts, "helpful_mix": len(mix)})


def approved(ctx: Context) -> Found:
    """Return the answers as revised, those in which no critique found a fault, and the user's own demonstrations.

    None of them is an answer to a held-out prompt.
    """
    path, held_out = ctx.config.data.demonstrations, heldout_of(ctx)
    loaded = rows_of(ctx, path, DEMONSTRATIONS) if path else []
    own = held_out.kept_out(loaded)
    held_out.refuse_all(loaded, own, "data.demonstrations", "data.demonstrations")
    left_out, answered = len(loaded) - len(own), ctx.results.get("critique") if own else ctx.need("critique")
    if answered is None:
        return Found(own, {"user": len(own), **_left_out(ctx, "demonstrations", left_out)})
    answers = passed(ctx.store, answered.run_id)
    learnable = held_out.kept_out([shown for _, shown in answers.shown])
    revised = [shown for shown in learnable if shown.source == "revision"]
    revised = [shown.model_copy(update={"ended": ended(ctx, shown.response)}) for shown in revised]
    faultless = [shown for shown in learnable if shown.source == "faultless"]
    counts = {"revised": len(revised), "faultless": len(faultless), "left_at_fault": answers.faulty, "user": len(own)}
    unasked = [shown for shown in learnable if shown.source == "unasked"]
    if unasked:
        # No principle is for such a prompt.
        counts["unasked"] = len(unasked)
    counts |= _left_out(ctx, "demonstrations", left_out + len(answers.shown) - len(learnable))
    found = [*revised, *faultless, *unasked, *own]
    if cut := sum(not shown.ended for shown in found):
        # They teach no end.
        counts["cut_at_limit"] = cut
    return Found(found, counts)


def replayed(ctx: Context) -> Found:
    """Return what PPO replays, if anything: the rows of `data.replay`, or answers of the base as they were."""
    settings = ctx.config
    if not settings.ppo.ptx_coef:
        return Found([], {})
    if settings.data.replay:
        loaded, held_out = rows_of(ctx, settings.data.replay, DEMONSTRATIONS), heldout_of(ctx)
        kept = held_out.kept_out(loaded)
        held_out.refuse_all(loaded, kept, "data.replay", "data.replay")
        return Found(kept, _left_out(ctx, "rows of data.replay", len(loaded) - len(kept)))
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, min(REPLAYED, len(everything)), settings.seed, "replay")
    samples = sample_all(ctx, "replay", prompts, BASE_POLICY, 1, settings.ppo.temperature)
    return Found([as_it_was(sample, "replay") for sample in samples], {})


def _left_out(ctx: Context, what: str, count: int) -> dict[str, int]:
    if not count:
        return {}
    ctx.note(f"{count} {what} ask held-out prompts and are left out of training")
    return {"left_out_heldout": count}
