"""What fine-tuning learns from: answers that passed the critic, the base's own, and the user's; what PPO replays."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from rlhf_core.data.loaders import load_demonstrations
from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import BASE_POLICY, Demonstration, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.prompts import draw, prompts_of
from rlhf_core.stages.samples import sample_all

REPLAYED = 512
"""Answers of the base that PPO replays, at most."""


class Found(NamedTuple):
    demonstrations: list[Demonstration]
    counts: dict[str, int]
    """How many there are of each kind."""


def demonstrations_of(ctx: Context) -> Found:
    """What supervised fine-tuning learns from: `approved`, and where there was a critic a share of the base's answers.

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
    mix = [_as_it_was(sample, "helpful") for sample in samples]
    return Found([*result.demonstrations, *mix], {**result.counts, "helpful_mix": len(mix)})


def approved(ctx: Context) -> Found:
    """Answers as revised, answers in which no critique found a fault, and the user's own demonstrations.

    An answer at fault that no accepted revision mended is nobody's example.
    """
    path = ctx.config.data.demonstrations
    own = load_demonstrations(path) if path else []
    answered = ctx.results.get("critique") if own else ctx.need("critique")
    if answered is None:
        return Found(own, {"user": len(own)})
    steps: dict[str, list[Revision]] = defaultdict(list)
    for step in sorted(ctx.store.revisions.of_run(answered.run_id), key=lambda step: step.round):
        steps[step.sample_id].append(step)
    revised, faultless, faulty = [], [], 0
    for sample in ctx.store.samples.of_run(answered.run_id, stage="critique"):
        accepted = [step for step in steps[sample.id] if step.accepted]
        if accepted:
            revised.append(Demonstration(prompt=sample.prompt, response=accepted[-1].after, source="revision"))
        elif all(step.critique.verdict == "complies" for step in steps[sample.id]):
            faultless.append(_as_it_was(sample, "faultless"))
        else:
            faulty += 1
    counts = {"revised": len(revised), "faultless": len(faultless), "left_at_fault": faulty, "user": len(own)}
    return Found([*revised, *faultless, *own], counts)


def replayed(ctx: Context) -> list[Demonstration]:
    """What PPO replays, if anything: the rows of `data.replay`, or answers of the base as they were."""
    settings = ctx.config
    if not settings.ppo.ptx_coef:
        return []
    if settings.data.replay:
        return load_demonstrations(settings.data.replay)
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, min(REPLAYED, len(everything)), settings.seed, "replay")
    return [
        _as_it_was(sample, "replay")
        for sample in sample_all(ctx, "replay", prompts, BASE_POLICY, 1, settings.ppo.temperature)
    ]


def _as_it_was(sample: Sample, source: str) -> Demonstration:
    return Demonstration(prompt=sample.prompt, response=sample.response, source=source)
