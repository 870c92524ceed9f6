"""The votes on a run's pairs: asked of the judge, or read where any run has stored them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from rlhf_core.feedback.voters import Poll, open_polls, with_votes
from rlhf_core.interfaces import Feedback
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.stages.context import Context

CHUNK = 64
"""Comparisons that are judged, and whose votes are stored, at a time."""


def vote_on(
    ctx: Context,
    feedback: Feedback,
    pairs: Sequence[Comparison],
    objectives: Sequence[str],
    counts: Counter[str],
) -> list[Poll]:
    """Draw the voters of each pair and return its poll; a vote that any run has stored is not asked for again.

    A pair that is given twice has one poll. `counts` gains `votes.cached` and `votes.asked`.
    """
    law = ctx.constitution
    polls = open_polls({pair.id: pair for pair in pairs}.values(), law, objectives, ctx.config.label)
    known: dict[str, Vote] = {}
    missing: dict[tuple[str, ...], list[Comparison]] = defaultdict(list)
    for poll in polls:
        ids = poll.vote_ids(feedback.name, feedback.template_hash)
        known |= ctx.store.votes.by_id([identity for both in ids.values() for identity in both])
        missing[tuple(name for name, both in ids.items() if not known.keys() >= set(both))].append(poll.comparison)
    # Pairs that are asked about under the same principles stand together, as these share a call.
    fresh = feedback.compare(
        [(pair, law.principle(name)) for names, unjudged in missing.items() for pair in unjudged for name in names]
    )
    # Votes of other runs are added too: they count as this run's.
    votes = {vote.id: vote.model_copy(update={"run_id": ctx.run.id}) for vote in (*known.values(), *fresh)}
    ctx.store.votes.add(list(votes.values()))
    counts.update({"votes.cached": len(known), "votes.asked": len(fresh)})
    return with_votes(polls, votes.values())
