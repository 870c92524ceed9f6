"""Samples that a stage stores: their ids and provenance, and the world's grades of them."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.config.feedback import POLICY
from rlhf_core.records.base import content_id
from rlhf_core.records.models import GoldScore
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.stages.context import Context, chunks

CHUNK = 64


def sample_all(
    ctx: Context, stage: str, prompts: Sequence[Prompt], version: str, n: int, temperature: float
) -> list[Sample]:
    """Draw and store n samples per prompt; pieces that an earlier attempt stored are read back."""
    ctx.store.prompts.add(prompts)
    samples: list[Sample] = []
    for piece in chunks(prompts, ctx.piece(CHUNK)):
        ids = [sample_id(ctx, stage, prompt, version, index) for prompt in piece for index in range(n)]
        stored = ctx.store.samples.by_id(ids)
        if len(stored) == len(ids):
            samples += [stored[identity] for identity in ids]
            continue
        drawn = ctx.tools.sampler.generate(
            piece,
            policy_version=version,
            n=n,
            temperature=temperature,
            max_tokens=ctx.config.model.max_tokens,
            seed=ctx.config.seed,
        )
        stamped = [stamp(sample, ctx, stage, version, index % n) for index, sample in enumerate(drawn)]
        ctx.store.samples.add(stamped)
        samples += stamped
    return samples


def ended(ctx: Context, text: str) -> bool:
    """Whether what the base model wrote as a critic came to its end; of an endpoint's tokens nothing is known."""
    backbone, limit = ctx.tools.backbone, ctx.config.model.feedback_tokens
    # One that was cut at the limit has that many tokens and, encoded anew, an end token behind them.
    return ctx.config.feedback.critic.model != POLICY or len(backbone.encode_response(text)) <= limit


def gold_scores(ctx: Context, samples: Sequence[Sample]) -> list[GoldScore]:
    """Grade the samples by gold, where there is a world. They are stored and reported; nothing learns from them."""
    if ctx.tools.world is None:
        return []
    gold = ctx.tools.world.gold
    grades: list[GoldScore] = []
    for sample in samples:
        for objective, score in gold.score(sample.prompt, sample.response).items():
            grades.append(GoldScore(sample_id=sample.id, kind=objective, score=score))
        for kind, harm in gold.harm_by_kind(sample.prompt, sample.response).items():
            grades.append(GoldScore(sample_id=sample.id, kind=f"harm:{kind}", score=harm))
    return grades


def stamp(sample: Sample, ctx: Context, stage: str, part: str, index: int) -> Sample:
    """Give the sample this run's provenance; its id is known before it is drawn, so a repeat is found."""
    identity = sample_id(ctx, stage, sample.prompt, part, index)
    return sample.model_copy(update={"id": identity, "run_id": ctx.run.id, "stage": stage})


def sample_id(ctx: Context, stage: str, prompt: Prompt, part: str, index: int) -> str:
    return content_id("sample", ctx.run.id, stage, prompt.id, part, index)
