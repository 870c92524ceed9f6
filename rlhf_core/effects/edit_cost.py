"""What an edit of a constitution costs: votes that no longer count, minutes, reward models to train again."""

from __future__ import annotations

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.constitution.diff import ConstitutionDiff
from rlhf_core.records.base import Record
from rlhf_core.store.store import Store

ORDERS = 2


class Bill(Record):
    """Counts are of one store; None where no store was given or nothing was measured."""

    votes: int | None = None
    """Stored votes of the principles before."""
    votes_invalid: int | None = None
    """Of these, votes of texts that the constitution after does not have."""
    votes_to_ask: int | None = None
    """Votes missing for the same comparisons under the constitution after."""
    seconds_per_vote: float | None = None
    measured_on: str = ""
    """Where the speed was measured."""
    minutes: float | None = None
    retrain: tuple[str, ...] = ()
    """Objectives whose reward models must be trained again."""
    unaffected: tuple[str, ...] = ()


def bill(diff: ConstitutionDiff, before: Constitution, after: Constitution, store: Store | None) -> Bill:
    """Return the bill of an edit, by the votes and the labelling speed that the store knows."""
    free = Bill(retrain=diff.retrain, unaffected=diff.unaffected)
    if store is None:
        return free
    old, new = ({p.hash for p in c.principles} for c in (before, after))
    counts = store.votes.counts()
    comparisons = store.votes.count_comparisons(old)
    missing = sum(max(0, ORDERS * comparisons - counts.get(principle, 0)) for principle in new - old)
    counted = free.model_copy(
        update={
            "votes": sum(counts.get(principle, 0) for principle in old),
            "votes_invalid": sum(counts.get(principle, 0) for principle in old - new),
            "votes_to_ask": missing,
        }
    )
    speed = _labelling_speed(store)
    return at_speed(counted, *speed) if speed else counted


def at_speed(counted: Bill, seconds_per_vote: float, measured_on: str) -> Bill:
    """Return the bill with its minutes, where the votes to ask are known."""
    minutes = None if counted.votes_to_ask is None else counted.votes_to_ask * seconds_per_vote / 60
    return counted.model_copy(
        update={"seconds_per_vote": seconds_per_vote, "measured_on": measured_on, "minutes": minutes}
    )


def _labelling_speed(store: Store) -> tuple[float, str] | None:
    """Seconds per vote of the newest run that labelled; drawing the pairs is part of them."""
    runs, _ = store.runs.page(20)
    for run in runs:
        label = store.stage_results.of_run(run.id).get("label")
        asked = label.counts.get("votes.asked", 0) if label else 0
        if label and asked:
            return label.seconds / asked, f"labelling of {run.id}, drawing the pairs included"
    return None
