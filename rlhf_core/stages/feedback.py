"""The stages where a model's own judgement becomes data: critique and revision, and preference labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rlhf_core.feedback.judging import family
from rlhf_core.feedback.revision import count_steps, critique_settings, draw_principles, revision_rounds
from rlhf_core.feedback.votes import comparison_of
from rlhf_core.records import BASE_POLICY, Comparison, Prompt, Revision, Sample, Vote
from rlhf_core.run_records import StageResult
from rlhf_core.stages.context import Context, Timer, chunks
from rlhf_core.stages.labelling import pairs_before, refuse_ungated, settle, vote_on
from rlhf_core.stages.prompts import draw, prompts_of, sample_id, stamp
from rlhf_core.stages.rounds import labelled_policy
from rlhf_core.stages.spending import Spending

CHUNK = 128
"""Prompts in one committed piece of work."""


def critique_stage(ctx: Context) -> StageResult:
    """Prompt -> sample of the base policy -> critique -> revision, piece by piece; progress counts critiques."""
    timer, settings = Timer(), critique_settings(ctx.constitution, ctx.config.critique)
    feedback = ctx.tools.feedback(ctx.constitution)
    spending = Spending(ctx, "critique", feedback)
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, min(settings.prompts, len(everything)), ctx.config.seed, "critique")
    ctx.store.add_prompts(prompts)
    law, seed = ctx.constitution, ctx.config.seed
    wanted = {prompt.id: len(draw_principles(law, prompt, settings, seed)) for prompt in prompts}
    total, asked = max(1, sum(wanted.values())), 0
    for piece in chunks(prompts, CHUNK):
        behind = asked + sum(wanted[prompt.id] for prompt in piece)
        if not _done(ctx, piece):
            samples = ctx.tools.sampler.generate(
                piece,
                policy_version=BASE_POLICY,
                temperature=settings.temperature,
                max_tokens=ctx.config.model.max_tokens,
                seed=ctx.config.seed,
            )
            samples = [stamp(sample, ctx, "critique", BASE_POLICY, 0) for sample in samples]
            steps: list[Revision] = []
            for unit in revision_rounds(samples, law, feedback, settings, seed):
                steps += unit
                ctx.progress("critique", min(asked + len(steps), total), total, **spending.step())
            with ctx.store.transaction(ctx.run.id, ctx.run.fence):
                ctx.store.add_samples(samples)
                ctx.store.add_revisions(steps)
        asked = behind
        ctx.progress("critique", asked, total, **spending.step())
    steps = ctx.store.revisions(ctx.run.id)
    counts = {"answers": len(prompts), **count_steps(steps)}
    if unasked := len(prompts) - len({step.sample_id for step in steps}):
        # No principle is for such a prompt.
        counts["unasked"] = unasked
    return spending.close(StageResult(run_id=ctx.run.id, stage="critique", counts=counts, seconds=timer.seconds))


def _done(ctx: Context, prompts: Sequence[Prompt]) -> bool:
    ids = [sample_id(ctx, "critique", prompt, BASE_POLICY, 0) for prompt in prompts]
    return len(ctx.store.samples_by_id(ids)) == len(ids)


def label_stage(ctx: Context) -> StageResult:
    """Two samples of a prompt -> votes in both orders under every principle -> one soft label per objective.

    The votes are what stays: labels are derived from all of them together, once the judge is measured.
    """
    timer = Timer()
    feedback = ctx.tools.feedback(ctx.constitution)
    spending = Spending(ctx, "label", feedback)
    pairs: dict[str, Comparison] = {}
    votes: dict[str, Vote] = {}
    counts: Counter[str] = Counter()
    for piece, done in _pairs(ctx, counts):
        pairs |= {pair.id: pair for pair in piece}
        judged = vote_on(ctx, feedback, piece, ctx.constitution.objective_names, counts)
        votes |= {vote.id: vote for vote in judged}
        ctx.progress("label", done, ctx.config.label.pairs, **spending.step())
    settled = settle(ctx, feedback, list(pairs.values()), list(votes.values()), counts)
    counts["labels"] = len(settled.labels)
    if family(feedback.name) == family(ctx.tools.backbone.name):
        counts["judge_of_own_family"] = len(pairs)
    for one in settled.labels:
        counts[f"abstained.{one.reason}" if one.abstained else f"choice.{one.choice}"] += 1
    for gate in settled.gates:
        ctx.note(f"judge, {gate.objective}: {gate.reason or 'passes its gate'}")
    refuse_ungated(ctx, settled.gates, len(votes))
    result = StageResult(
        run_id=ctx.run.id,
        stage="label",
        policy_version=labelled_policy(ctx),
        counts=dict(sorted(counts.items())),
        seconds=timer.seconds,
    )
    return spending.close(result)


def _pairs(ctx: Context, counts: Counter[str]) -> Iterator[tuple[Sequence[Comparison], int]]:
    """The pairs to judge, piece by piece, each with how many are done."""
    counts["pairs"] = ctx.config.label.pairs
    before = pairs_before(ctx)
    if before is not None:
        counts["identical"] = before.identical
        for number, piece in enumerate(chunks(before.pairs, CHUNK)):
            yield piece, min((number + 1) * CHUNK, len(before.pairs))
        return
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, ctx.config.label.pairs, ctx.config.seed, "label")
    ctx.store.add_prompts(everything)
    for number, piece in enumerate(chunks(prompts, CHUNK)):
        pairs = _draw_pairs(ctx, piece, number)
        counts["identical"] += len(piece) - len(pairs)
        yield pairs, min((number + 1) * CHUNK, len(prompts))


def _draw_pairs(ctx: Context, prompts: Sequence[Prompt], number: int) -> list[Comparison]:
    """Pairs of samples of one policy; a share of them sets it against the base. Identical texts are dropped."""
    tuned = labelled_policy(ctx)
    against_base = int(len(prompts) * ctx.config.label.base_share)
    first = _sample(ctx, prompts, tuned, f"{number}a", number * 3)
    second = _sample(ctx, prompts[:against_base], BASE_POLICY, f"{number}b", number * 3 + 1, first[:against_base])
    second += _sample(ctx, prompts[against_base:], tuned, f"{number}b", number * 3 + 2, first[against_base:])
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.add_samples([*first, *second])
        pairs = [
            comparison_of(a, b, ctx.run.id) for a, b in zip(first, second, strict=True) if a.response != b.response
        ]
        ctx.store.add_comparisons(pairs)
    return pairs


def _sample(
    ctx: Context, prompts: Sequence[Prompt], version: str, part: str, salt: int, unlike: Sequence[Sample] = ()
) -> list[Sample]:
    """One sample per prompt, of several candidates the first whose text is not that of its partner in `unlike`.

    Samples that are stored already are read, not drawn again.
    """
    ids = [sample_id(ctx, "label", prompt, part, index) for index, prompt in enumerate(prompts)]
    stored = ctx.store.samples_by_id(ids)
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
