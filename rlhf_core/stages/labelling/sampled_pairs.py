"""Pairs of replies that one policy has sampled, or, for a share of the prompts, it and the base."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.samples import sample_id, stamp


def draw_pairs(ctx: Context, policy: str, prompts: Sequence[Prompt], number: int) -> tuple[list[Sample], list[Sample]]:
    """Draw two samples of one policy to each prompt; to a share of them, the second is the base's."""
    against_base = int(len(prompts) * ctx.config.label.base_share)
    first = _sample(ctx, prompts, policy, f"{number}a", number * 3)
    second = _sample(ctx, prompts[:against_base], BASE_POLICY, f"{number}b", number * 3 + 1, first[:against_base])
    second += _sample(ctx, prompts[against_base:], policy, f"{number}b", number * 3 + 2, first[against_base:])
    return first, second


def _sample(
    ctx: Context, prompts: Sequence[Prompt], version: str, part: str, salt: int, unlike: Sequence[Sample] = ()
) -> list[Sample]:
    """One sample per prompt, of several candidates the first whose text is not that of its partner in `unlike`.

    Samples that are stored already are read, not drawn again.
    """
    ids = [sample_id(ctx, "label", prompt, part, index) for index, prompt in enumerate(prompts)]
    stored = ctx.store.samples.by_id(ids)
    if len(stored) == len(ids):
        return [stored[identity] for identity in ids]
    n = ctx.config.label.candidates if unlike else 1
    drawn = ctx.tools.sampler.generate(
        prompts,
        policy_version=version,
        n=n,
        temperature=ctx.config.label.temperature,
        max_tokens=ctx.config.model.max_tokens,
        seed=ctx.config.seed + 7919 * (salt + 1),
    )
    chosen = []
    for index in range(len(prompts)):
        candidates = drawn[index * n : (index + 1) * n]
        others = [sample for sample in candidates if unlike and sample.response != unlike[index].response]
        chosen.append(stamp((others or candidates)[0], ctx, "label", part, index))
    return chosen
