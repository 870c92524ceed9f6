"""The pairs of replies that a run labels: drawn anew, or those of the run that it goes on from."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.principle import Principle
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.contrast import CONTRAST_HASH, can_contrast
from rlhf_core.interfaces import Feedback
from rlhf_core.records.feedback import Critique
from rlhf_core.records.samples import BASE_POLICY, Comparison, Prompt, Sample
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.prompts import draw, draw_evenly, prompts_of
from rlhf_core.stages.samples import sample_id, stamp

CHUNK = 128
"""Prompts in one committed piece of work, at most."""


def pairs_to_judge(
    ctx: Context, policy: str, feedback: Feedback, counts: Counter[str]
) -> Iterator[tuple[Sequence[Comparison], int]]:
    """Yield the pairs of a policy version to judge, piece by piece, each with the number of pairs done after it."""
    counts["pairs"] = ctx.config.label.pairs
    before = pairs_before(ctx, policy)
    if before is not None:
        counts["identical"] = before.identical
        for number, piece in enumerate(chunks(before.pairs, ctx.piece(CHUNK))):
            yield piece, min((number + 1) * ctx.piece(CHUNK), len(before.pairs))
        return
    everything = prompts_of(ctx, "train")
    ctx.store.prompts.add(everything)
    count, done = int(ctx.config.label.pairs * ctx.config.label.steered_share), 0
    prompts = draw(everything, ctx.config.label.pairs - count, ctx.config.seed, "label")
    steered = draw_evenly(everything, count, ctx.config.seed, "steered", beside=prompts)
    for piece in chunks(steered, ctx.piece(CHUNK)):
        done += len(piece)
        yield _stored(ctx, *_steer(ctx, feedback, piece), counts), done
    for number, piece in enumerate(chunks(prompts, ctx.piece(CHUNK))):
        done += len(piece)
        yield _stored(ctx, *_draw_pairs(ctx, policy, piece, number), counts), done


def _stored(ctx: Context, first: list[Sample], second: list[Sample], counts: Counter[str]) -> list[Comparison]:
    """Store the samples and the pairs that they make; those of identical texts are counted and dropped."""
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.samples.add([*first, *second])
        pairs = [
            Comparison.of(a, b, ctx.run.id) for a, b in zip(first, second, strict=True) if a.response != b.response
        ]
        ctx.store.comparisons.add(pairs)
    counts["identical"] += len(first) - len(pairs)
    return pairs


def _draw_pairs(ctx: Context, policy: str, prompts: Sequence[Prompt], number: int) -> tuple[list[Sample], list[Sample]]:
    """Two samples of one policy to each prompt; to a share of them, the second is the base's."""
    against_base = int(len(prompts) * ctx.config.label.base_share)
    first = _sample(ctx, prompts, policy, f"{number}a", number * 3)
    second = _sample(ctx, prompts[:against_base], BASE_POLICY, f"{number}b", number * 3 + 1, first[:against_base])
    second += _sample(ctx, prompts[against_base:], policy, f"{number}b", number * 3 + 2, first[against_base:])
    return first, second


def _steer(ctx: Context, feedback: Feedback, prompts: Sequence[Prompt]) -> tuple[list[Sample], list[Sample]]:
    """Two replies of the base to each prompt, each after the good examples of another principle."""
    asked = [_steered(ctx, prompt, one) for prompt in prompts for one in _opposed(ctx, prompt)]
    stored = ctx.store.samples.by_id([sample.id for sample, _ in asked])
    unwritten = [(sample, _nothing_said(ctx, sample, one), one) for sample, one in asked if sample.id not in stored]
    texts = iter(feedback.revise(unwritten) if unwritten else [])
    samples = [stored.get(sample.id) or _said(ctx, sample, next(texts)) for sample, _ in asked]
    return samples[::2], samples[1::2]


def _opposed(ctx: Context, prompt: Prompt) -> list[Principle]:
    """Draw two principles, in any order: one that is for such a prompt and one that is not, where there are both.

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
    sides = [[one for one in able if one.applies_to(prompt.tags) == wanted] for wanted in (True, False)]
    chosen = [rng.choice(side) for side in sides] if all(sides) else rng.sample(able, 2)
    return rng.sample(chosen, 2)


def _steered(ctx: Context, prompt: Prompt, principle: Principle) -> tuple[Sample, Principle]:
    """A reply that is still to be written, and what it is written under."""
    writer = f"{BASE_POLICY}+{principle.id}"
    identity = sample_id(ctx, "label", prompt, writer, 0)
    sample = Sample(id=identity, prompt=prompt, response="", policy_version=writer, run_id=ctx.run.id, stage="label")
    return sample, principle


def _said(ctx: Context, sample: Sample, text: str) -> Sample:
    tokens = len(ctx.tools.backbone.encode_response(text))
    # One that was cut at the limit has that many tokens and, encoded anew, an end token behind them.
    finished = tokens <= ctx.config.model.feedback_tokens
    return sample.model_copy(update={"response": text, "tokens": tokens, "finished": finished})


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


class Drawn(NamedTuple):
    """The pairs of an earlier run, and how many it dropped because both texts were identical."""

    pairs: list[Comparison]
    identical: int


def pairs_before(ctx: Context, policy: str) -> Drawn | None:
    """Return the pairs of `from_run` where this run would draw the same ones, so that no model writes them again."""
    source = ctx.config.from_run
    result = results_of(ctx.store, source).get("label") if source else None
    if result is None or result.policy_version != policy:
        return None
    before = RunConfig.model_validate_json(ctx.store.runs.get(result.run_id).config)
    if _drawing(before) != _drawing(ctx.config):
        return None
    stored = [pair for pair in ctx.store.comparisons.of_run(result.run_id) if pair.a.stage == "label"]
    pairs = [pair.model_copy(update={"run_id": ctx.run.id}) for pair in stored]
    ctx.store.comparisons.add(pairs)
    return Drawn(pairs, result.counts["identical"])


def _drawing(config: RunConfig) -> tuple[object, ...]:
    """All that decides which pairs are drawn from a policy."""
    label = config.label
    drawn = (label.pairs, label.temperature, label.base_share, label.candidates, label.steered_share)
    return config.seed, config.model.max_tokens, config.data.prompts, config.data.heldout_prompts, *drawn
