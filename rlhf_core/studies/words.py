"""What a study's ratings say, in words that claim no more than the intervals do."""

from __future__ import annotations

from rlhf_core.records.annotation import Agreement
from rlhf_core.records.studies import RatingDifference, RatingResult

UNTOLD = "not told apart"


def how_far(result: RatingResult) -> str:
    """Say how many replies have all their ratings, and whether that is all of them."""
    told = f"{result.done} of {result.replies} replies have all their ratings"
    if not result.closed_because:
        return f"unfinished: {told}; what they say is told once all have them"
    return f"unfinished: closed by hand when {told}" if result.done < result.replies else f"finished: {told}"


def verdict(found: RatingDifference) -> str:
    """Say which of two policies is rated higher, or why that is not told."""
    if found.difference is None:
        return f"{UNTOLD}: no prompt has ratings of both"
    if found.difference.low is None:
        why = "one prompt says nothing of others" if found.prompts == 1 else "every prompt has the same difference"
        return f"{UNTOLD}: no interval, as {why}"
    if found.higher == "neither":
        return f"{UNTOLD}: the interval holds 0"
    above, below = (found.second, found.first) if found.higher == "second" else (found.first, found.second)
    return f"{above} is rated higher than {below}"


def agreement(found: Agreement) -> str:
    """Say how far raters agree, and on how much that rests."""
    if found.value is None:
        return f"agreement of raters is not known: {found.undefined}"
    bounds = "" if found.low is None or found.high is None else f" [{found.low:.2f}, {found.high:.2f}]"
    rests = f"{found.answers} ratings of {found.items} replies"
    return f"agreement of raters: alpha {found.value:.2f}{bounds} on {rests} that several people rated"
