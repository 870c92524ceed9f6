"""Votes by hand, tallied and labelled as a run's are."""

from __future__ import annotations

from collections.abc import Sequence

from rlhf_core.config.run import LabelConfig
from rlhf_core.constitution.constitution import Constitution
from rlhf_core.feedback.preference_labels import labels_from_tallies
from rlhf_core.feedback.vote_aggregation import Tally, tallies
from rlhf_core.feedback.voters import open_polls, with_votes
from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.samples import Comparison


def tallied(
    pairs: Sequence[Comparison], votes: Sequence[Vote], law: Constitution, config: LabelConfig
) -> dict[str, list[Tally]]:
    """Objective -> a tally for each pair."""
    polls = with_votes(open_polls(pairs, law, law.objective_names, config), votes)
    return {name: tallies(polls, law.precedence(), name, config) for name in law.objective_names}


def labelled(
    pairs: Sequence[Comparison], votes: Sequence[Vote], law: Constitution, config: LabelConfig
) -> list[Preference]:
    """The labels of one objective after the other, of a judge that nobody has measured."""
    return labels_from_tallies(pairs, tallied(pairs, votes, law, config), law, "judge", config)
