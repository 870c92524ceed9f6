"""What people say of replies beside which of two is better: ratings, rankings, and the faults that they mark."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from rlhf_core.records.base import Record

Form = Literal["rating", "ranking", "spans"]
LOWEST, HIGHEST = 1, 7
"""The scale of ratings, as InstructGPT's labelers had it (Ouyang et al. 2022)."""


class FaultSpan(Record):
    """A part of a reply that breaks a principle."""

    start: int = Field(ge=0)
    """In characters of the reply, from 0."""
    end: int
    """Where the first character after it stands."""
    principle_id: str
    text: str
    principle_hash: str
    """Of the principle as the labeler saw it."""


class Assessment(Record):
    """What one person says of one reply, or of several to one prompt, by one objective."""

    id: str
    form: Form
    item_id: str
    """The sample, or for a ranking the prompt."""
    sample_ids: tuple[str, ...]
    """The replies, in the order in which they were seen."""
    objective: str
    labeler: str
    """`human:<name>`."""
    rating: int | None = Field(default=None, ge=LOWEST, le=HIGHEST)
    ranks: tuple[int, ...] = ()
    """In the order of the replies, 1 being the best, without gaps; equal ranks are ties."""
    spans: tuple[FaultSpan, ...] = ()
    """None, of a reply that was not skipped, means that it has no fault."""
    all_bad: bool = False
    """None of the replies is acceptable."""
    skipped: bool = False
    reason: str = ""
    constitution_hash: str = ""
    run_id: str = ""
    """The run of the replies, where all are of one."""
    created_at: str = ""
    """When it was stored; empty until then."""
