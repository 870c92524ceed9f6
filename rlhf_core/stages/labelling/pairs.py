"""The pairs of replies that a run labels: drawn anew, or those of the run that it goes on from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.data.prompt_draws import draw, draw_evenly
from rlhf_core.interfaces import Feedback
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.stages.ancestry import results_of
from rlhf_core.stages.context import Context, chunks
from rlhf_core.stages.labelling.sampled_pairs import draw_pairs
from rlhf_core.stages.labelling.steered_pairs import steer
from rlhf_core.stages.prompts import prompts_of

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
    done = 0
    for first, second in _written(ctx, policy, feedback):
        done += len(first)
        yield _stored(ctx, first, second, counts), done


def _written(ctx: Context, policy: str, feedback: Feedback) -> Iterator[tuple[list[Sample], list[Sample]]]:
    """Two replies to each of the prompts that a run draws: first the steered ones, then the policy's own."""
    steered, prompts = _asked(ctx)
    for piece in chunks(steered, ctx.piece(CHUNK)):
        yield steer(ctx, feedback, piece)
    for number, piece in enumerate(chunks(prompts, ctx.piece(CHUNK))):
        yield draw_pairs(ctx, policy, piece, number)


def _asked(ctx: Context) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts that steered replies are written to, and those of the policy's own."""
    everything = prompts_of(ctx, "train")
    ctx.store.prompts.add(everything)
    count = int(ctx.config.label.pairs * ctx.config.label.steered_share)
    own = draw_evenly if ctx.config.label.even_tags else draw
    prompts = own(everything, ctx.config.label.pairs - count, ctx.config.seed, "label")
    return draw_evenly(everything, count, ctx.config.seed, "steered"), prompts


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
    run = ctx.store.runs.get(result.run_id)
    before = RunConfig.stored(run.config)
    if _drawing(before) != _drawing(ctx.config):
        return None
    law = parse_constitution(ctx.store.constitutions.text(run.constitution_hash), run.constitution_hash)
    if ctx.config.label.steered_share and _steering(before, law) != _steering(ctx.config, ctx.constitution):
        return None
    stored = [pair for pair in ctx.store.comparisons.of_run(result.run_id) if pair.a.stage == "label"]
    # The file of prompts may have been edited under its name.
    if Counter(pair.prompt.id for pair in stored) - Counter(prompt.id for part in _asked(ctx) for prompt in part):
        return None
    pairs = [pair.model_copy(update={"run_id": ctx.run.id}) for pair in stored]
    ctx.store.comparisons.add(pairs)
    return Drawn(pairs, result.counts["identical"])


def _drawing(config: RunConfig) -> tuple[object, ...]:
    """All that decides which pairs are drawn from a policy."""
    label = config.label
    drawn = (label.pairs, label.temperature, label.base_share, label.candidates, label.steered_share, label.even_tags)
    return config.seed, config.model.max_tokens, config.data.prompts, config.data.heldout_prompts, *drawn


def _steering(config: RunConfig, law: Constitution) -> tuple[object, ...]:
    """All that decides, besides, which steered replies are written and what they say; weights do not."""
    written = [
        (
            one.id,
            one.hash,
            one.applies_when,
            {name for name, share in one.serves.items() if share == max(one.serves.values())},
        )
        for one in law.principles
    ]
    return config.feedback.critic, written
