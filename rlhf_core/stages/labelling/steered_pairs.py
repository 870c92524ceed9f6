"""Pairs of replies that are written to differ: each after the good examples of another principle."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations, product

from rlhf_core.constitution.principle import Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.contrast import CONTRAST_HASH, can_contrast
from rlhf_core.interfaces import Feedback
from rlhf_core.records.feedback import Critique
from rlhf_core.records.samples import BASE_POLICY, Prompt, Sample
from rlhf_core.stages.context import Context
from rlhf_core.stages.samples import ended, sample_id


def steer(ctx: Context, feedback: Feedback, prompts: Sequence[Prompt]) -> tuple[list[Sample], list[Sample]]:
    """Write two replies of the base to each prompt, each after the good examples of another principle."""
    asked = [_steered(ctx, prompt, one) for prompt in prompts for one in _opposed(ctx, prompt)]
    stored = ctx.store.samples.by_id([sample.id for sample, _ in asked])
    unwritten = [(sample, _nothing_said(ctx, sample, one), one) for sample, one in asked if sample.id not in stored]
    texts = iter(feedback.revise(unwritten) if unwritten else [])
    samples = [stored.get(sample.id) or _said(ctx, sample, next(texts)) for sample, _ in asked]
    return samples[::2], samples[1::2]


def _opposed(ctx: Context, prompt: Prompt) -> list[Principle]:
    """Draw two principles, in any order, between which a label of such a prompt has to decide.

    They are two that are for it and serve no objective in common most, where there are such: what the weights decide.
    Otherwise one that is for it and one that is not, where there are both.

    Raises: InvalidInput where fewer than two have examples to write after.
    """
    able = [one for one in ctx.constitution.principles if can_contrast(one)]
    if len(able) < 2:
        raise InvalidInput(
            f"label.steered_share: {len(able)} of the constitution's principles have examples; allowed: at least 2, as "
            "one is set against another",
            "label.steered_share",
        )
    rng = random.Random(f"{ctx.config.seed}:steered:{prompt.id}")
    meant = [one for one in able if one.applies_to(prompt.tags)]
    others = [one for one in able if one not in meant]
    torn = [pair for pair in combinations(meant, 2) if not _serves_most(pair[0]) & _serves_most(pair[1])]
    chosen = rng.choice(torn or list(product(meant, others)) or list(combinations(able, 2)))
    return rng.sample(chosen, 2)


def _serves_most(principle: Principle) -> set[str]:
    """The objective that it serves most, or all that it serves so alike."""
    most = max(principle.serves.values())
    return {name for name, share in principle.serves.items() if share == most}


def _steered(ctx: Context, prompt: Prompt, principle: Principle) -> tuple[Sample, Principle]:
    """A reply that is still to be written, and what it is written under."""
    writer = f"{BASE_POLICY}+{principle.id}"
    identity = sample_id(ctx, "label", prompt, writer, 0)
    sample = Sample(id=identity, prompt=prompt, response="", policy_version=writer, run_id=ctx.run.id, stage="label")
    return sample, principle


def _said(ctx: Context, sample: Sample, text: str) -> Sample:
    tokens = len(ctx.tools.backbone.encode_response(text))
    return sample.model_copy(update={"response": text, "tokens": tokens, "finished": ended(ctx, text)})


def _nothing_said(ctx: Context, sample: Sample, principle: Principle) -> Critique:
    """The critique that a revision asks for, where there is no reply yet that it could be of."""
    return Critique(
        sample_id=sample.id,
        principle_id=principle.id,
        principle_hash=principle.hash,
        constitution_hash=ctx.constitution.hash,
        template_hash=CONTRAST_HASH,
        critic="",
        verdict=None,
        text="",
    )
