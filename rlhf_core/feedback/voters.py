"""Draw the principles that vote on a comparison, and name the key under which each of their votes is stored."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.feedback.templates import COMPARE_HASH
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Vote
from rlhf_core.records.samples import Comparison


class Poll(NamedTuple):
    """A comparison, the principles that were drawn to vote on it, and the votes that it has."""

    comparison: Comparison
    voters: Mapping[str, Sequence[Principle]]
    """Objective -> its principles, in order of id."""
    votes: Sequence[Vote] = ()

    def vote_ids(self, judge: str, template_hash: str) -> dict[str, list[str]]:
        """Name the votes that the poll asks for: principle id, in order -> the ids of both orders."""
        drawn = {principle.id: principle for principles in self.voters.values() for principle in principles}
        return {
            name: [vote_id(self.comparison, drawn[name], judge, swapped, template_hash) for swapped in (False, True)]
            for name in sorted(drawn)
        }


def open_polls(
    comparisons: Iterable[Comparison], constitution: Constitution, objectives: Sequence[str], config: LabelConfig
) -> list[Poll]:
    """Draw the voters of each comparison; the polls have no votes yet."""
    return [Poll(pair, {name: voters(pair, constitution, name, config) for name in objectives}) for pair in comparisons]


def with_votes(polls: Sequence[Poll], votes: Iterable[Vote]) -> list[Poll]:
    """Give each poll the votes on its comparison, in their order."""
    by_comparison: dict[str, list[Vote]] = defaultdict(list)
    for vote in votes:
        by_comparison[vote.comparison_id].append(vote)
    return [poll._replace(votes=by_comparison[poll.comparison.id]) for poll in polls]


def voters(
    comparison: Comparison, constitution: Constitution, objective: str, config: LabelConfig
) -> tuple[Principle, ...]:
    """Draw the principles that vote on a comparison for an objective; they stand in order of id.

    Of those that weigh something and apply to the prompt, as many as the run or else the constitution asks for; none
    given means all. The draw takes critical ones first and ranks a hash of pair and principle id, so that neither a
    weight, a wording nor the order of a and b moves it.
    """
    fitting = [p for p in constitution.serving(objective) if p.weight and p.applies_to(comparison.prompt.tags)]
    wanted = config.principles_per_label or constitution.defaults.compare.principles_per_label or len(fitting)
    pair = "\x1f".join((comparison.prompt.id, *sorted((comparison.a.response, comparison.b.response))))

    def drawn(principle: Principle) -> tuple[bool, bytes]:
        return principle.severity != "critical", hashlib.sha256(f"{pair}\x1f{principle.id}".encode()).digest()

    ranked = sorted(fitting, key=drawn)
    return tuple(sorted(ranked[:wanted], key=lambda p: p.id))


def vote_id(
    comparison: Comparison, principle: Principle, judge: str, swapped: bool, template_hash: str = COMPARE_HASH
) -> str:
    """Return the content key of a vote: another principle text, template, judge or order is another vote.

    A principle's weight is no part of it.
    """
    return content_id("vote", comparison.id, principle.hash, template_hash, judge, int(swapped))
