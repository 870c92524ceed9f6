"""The stage that draws a study: each policy's replies to its prompts, and what people are asked of them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rlhf_core.data.prompt_draws import draw
from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import content_id
from rlhf_core.records.runs import StageResult
from rlhf_core.records.samples import Comparison, Prompt, Sample
from rlhf_core.records.studies import StudyPair, StudyPlan, StudyReply
from rlhf_core.seeding import uniform_draw
from rlhf_core.stages.context import Context, Timer
from rlhf_core.stages.imported.own_rows import PROMPTS, rows_of
from rlhf_core.stages.prompts import prompts_of
from rlhf_core.stages.samples import sample_all


class Meeting(NamedTuple):
    """Two policies that answer one prompt."""

    prompt: Prompt
    first: str
    second: str


def study_stage(ctx: Context) -> StageResult:
    """Draw one reply of every policy to each of its prompts, pair them, and open the study's questions.

    Pairs of identical replies are left out and counted: nobody is asked what nobody can tell. Rated is every reply,
    where the plan says so.
    """
    timer, plan = Timer(), ctx.store.studies.get(ctx.run.id)
    meetings = schedule(_prompts(ctx, plan.pairs), plan)
    replies: dict[tuple[str, str], Sample] = {}
    for done, policy in enumerate(plan.policies, start=1):
        asked = {one.prompt.id: one.prompt for one in meetings if policy in (one.first, one.second)}
        samples = sample_all(ctx, "study", list(asked.values()), policy, 1, plan.temperature)
        replies |= {(policy, sample.prompt.id): sample for sample in samples}
        ctx.progress("study", done, len(plan.policies))
    found = [_pair(ctx, one, replies) for one in meetings]
    told_apart = [pair for pair in found if pair.a.response != pair.b.response]
    with ctx.store.transaction(ctx.run.id, ctx.run.fence):
        ctx.store.comparisons.add(told_apart)
        rated = rated_replies(ctx.run.id, replies) if plan.ratings_per_reply else []
        ctx.store.studies.open(ctx.run.id, [_row(ctx, *one) for one in enumerate(told_apart)], plan, rated)
    counts = {"pairs": len(told_apart), "identical": len(found) - len(told_apart)}
    return StageResult(run_id=ctx.run.id, stage="study", counts=counts, seconds=timer.seconds)


def schedule(prompts: Sequence[Prompt], plan: StudyPlan) -> list[Meeting]:
    """Plan `plan.pairs` meetings, or as many as there are: each prompt once before it comes again, for other policies.

    All pairs of policies meet as often as each other, to one, in any stretch of the list.
    """
    duels = list(itertools.combinations(plan.policies, 2))
    rounds = [
        Meeting(prompt, *duels[(place + turn) % len(duels)])
        for turn in range(len(duels))
        for place, prompt in enumerate(prompts)
    ]
    return rounds[: plan.pairs]


def rated_replies(study_id: str, replies: Mapping[tuple[str, str], Sample]) -> list[StudyReply]:
    """List each policy's replies, by policy and prompt, in a random order; the same words to a prompt are one reply."""
    seen: dict[tuple[str, str], str] = {}
    shown = {key: seen.setdefault((key[1], sample.response), sample.id) for key, sample in replies.items()}
    drawn = sorted(set(shown.values()), key=lambda sample: uniform_draw(f"rated {study_id} {sample}"))
    places = {sample: place for place, sample in enumerate(drawn)}
    return [
        StudyReply(study_id=study_id, policy=policy, prompt_id=prompt, sample_id=sample, place=places[sample])
        for (policy, prompt), sample in shown.items()
    ]


def _prompts(ctx: Context, count: int) -> list[Prompt]:
    """Prompts of the study's own file or dataset, all of them, or those that the world holds out; in a random order."""
    given = ctx.config.data.prompts
    if given is None:
        known = prompts_of(ctx, "heldout")
    else:
        known = list({prompt.id: prompt for prompt in rows_of(ctx, given, PROMPTS)}.values())
    if not known:
        raise InvalidInput("data.prompts: a study asks nothing without prompts; allowed: at least 1", "data.prompts")
    return draw(sorted(known, key=lambda prompt: prompt.id), min(count, len(known)), ctx.config.seed, "study")


def _pair(ctx: Context, meeting: Meeting, replies: dict[tuple[str, str], Sample]) -> Comparison:
    """The pair under an id of the study's own, as its labels are no other run's; the id says who is a."""
    prompt, *policies = meeting
    identity = content_id("comparison", ctx.run.id, prompt.id, *policies)
    a, b = (replies[policy, prompt.id] for policy in policies)
    pair = Comparison(id=identity, a=a, b=b, run_id=ctx.run.id)
    return pair.swap() if uniform_draw(f"side {identity}") < 0.5 else pair


def _row(ctx: Context, place: int, pair: Comparison) -> StudyPair:
    return StudyPair(
        study_id=ctx.run.id,
        comparison_id=pair.id,
        place=place,
        prompt_id=pair.prompt.id,
        a_policy=pair.a.policy_version,
        b_policy=pair.b.policy_version,
        a_words=len(pair.a.response.split()),
        b_words=len(pair.b.response.split()),
    )
