"""The stage of critique and revision: the base policy's answers, criticised under principles and written anew."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.data.prompt_draws import draw
from rlhf_core.errors import TrainingFailed
from rlhf_core.feedback.capability import HELP, probe, probe_judge
from rlhf_core.feedback.revision import count_steps, critique_settings, draw_principles, revision_rounds
from rlhf_core.interfaces import Feedback, PanelJudge
from rlhf_core.records.feedback import Revision
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import BASE_POLICY, Prompt
from rlhf_core.stages.context import Context, Timer, chunks
from rlhf_core.stages.prompts import prompts_of
from rlhf_core.stages.samples import sample_id, stamp
from rlhf_core.stages.usage import Spending

CHUNK = 128
"""Prompts in one committed piece of work, at most."""


def critique_stage(ctx: Context) -> StageResult:
    """Sample the base policy's replies, criticise and revise them, piece by piece; progress counts critiques."""
    timer, settings = Timer(), critique_settings(ctx.constitution, ctx.config.critique)
    feedback, others = ctx.tools.feedback(ctx.constitution), ctx.tools.panel(ctx.constitution)[1:]
    refuse_incapable(ctx, feedback, others)
    spending = Spending(ctx, "critique", feedback, *(one.feedback for one in others))
    everything = prompts_of(ctx, "train")
    prompts = draw(everything, min(settings.prompts, len(everything)), ctx.config.seed, "critique")
    ctx.store.prompts.add(prompts)
    law, seed = ctx.constitution, ctx.config.seed
    wanted = {prompt.id: len(draw_principles(law, prompt, settings, seed)) for prompt in prompts}
    total, asked = max(1, sum(wanted.values())), 0
    for piece in chunks(prompts, ctx.piece(CHUNK)):
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
                ctx.store.samples.add(samples)
                ctx.store.revisions.add(steps)
        asked = behind
        ctx.progress("critique", asked, total, **spending.step())
    steps = ctx.store.revisions.of_run(ctx.run.id)
    counts = {"answers": len(prompts), **count_steps(steps)}
    if unasked := len(prompts) - len({step.sample_id for step in steps}):
        # No principle is for such a prompt.
        counts["unasked"] = unasked
    return spending.close(StageResult(run_id=ctx.run.id, stage="critique", counts=counts, seconds=timer.seconds))


def refuse_incapable(ctx: Context, feedback: Feedback, others: Sequence[PanelJudge] = ()) -> None:
    """Note what the constitution's tests say of critic and judges, where no world knows the truth and measures better.

    `others` are the judges of a panel after its first, who checks revisions and is that of `feedback`.

    Raises: TrainingFailed where the judge of `feedback` does no better than chance.
    """
    if ctx.tools.world is not None:
        return
    told = probe(ctx.constitution.principles, feedback, ctx.config.label)
    if told is None:
        ctx.note("the constitution has no tests, so nobody knows yet whether the judge can tell which reply is better")
        return
    ctx.note(told.of_judge())
    if told.criticised:
        ctx.note(told.of_critic())
    for one in others:
        other = probe_judge(ctx.constitution.principles, one.feedback, ctx.config.label)
        ctx.note(f"{one.name}: {other.of_judge()}", alarm=other.is_chance)
    if told.is_chance and not ctx.config.gate.allow_ungated:
        raise TrainingFailed(f"{told.of_judge()}, which is no better than chance; {HELP}")


def _done(ctx: Context, prompts: Sequence[Prompt]) -> bool:
    ids = [sample_id(ctx, "critique", prompt, BASE_POLICY, 0) for prompt in prompts]
    return len(ctx.store.samples.by_id(ids)) == len(ids)
