"""Steps of revision on the wire."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from charter.v1 import critique_pb2

from rlhf_core.records.feedback import Critique, Revision, Usage
from services.wire.samples import critique_from_message, critique_to_message, usage_from_message


class RevisionStep(NamedTuple):
    """A sample criticised under one principle in a round, from 1, and revised where that found fault."""

    sample_id: str
    round: int
    critique: Critique
    before: str
    after: str
    accepted: bool
    reason: str


class RevisionsEnd(NamedTuple):
    """Every sample's answer after its last step, and the steps by what became of them."""

    responses: tuple[str, ...]
    counts: Mapping[str, int]
    usage: Usage


def step_to_message(step: Revision) -> critique_pb2.RevisionStep:
    return critique_pb2.RevisionStep(
        sample_id=step.sample_id,
        round=step.round + 1,
        critique=critique_to_message(step.critique),
        before=step.before,
        after=step.after,
        accepted=step.accepted,
        reason=step.reason,
    )


def from_answer(answer: critique_pb2.ReviseStreamResponse) -> Critique | RevisionStep | RevisionsEnd:
    """Read what one message of the stream brings."""
    kind = answer.WhichOneof("event")
    if kind == "critique":
        return critique_from_message(answer.critique)
    if kind == "end":
        usage = usage_from_message(answer.end.usage)
        return RevisionsEnd(tuple(answer.end.responses), dict(answer.end.counts), usage)
    return step_from_message(answer.step)


def step_from_message(step: critique_pb2.RevisionStep) -> RevisionStep:
    critique = critique_from_message(step.critique)
    return RevisionStep(step.sample_id, step.round, critique, step.before, step.after, step.accepted, step.reason)
