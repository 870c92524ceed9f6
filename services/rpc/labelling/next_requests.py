"""What requests for work for people share: how much, held for how long, counted from when, and shown blind."""

from __future__ import annotations

from datetime import UTC, datetime

from charter.v1 import assessment_pb2, preference_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Sample

MAX_COUNT = 100
MAX_LEASE_SECONDS = 3600

NextRequest = preference_pb2.NextComparisonRequest | assessment_pb2.NextAssessmentRequest


def count_of(request: NextRequest) -> int:
    """Return how many replies to return; what is not given means one."""
    if request.count < 0:
        raise InvalidInput(f"count: {request.count}; allowed: 0 to {MAX_COUNT}", "count")
    return min(request.count or 1, MAX_COUNT)


def lease_seconds_of(request: NextRequest) -> float:
    """Return the seconds of a lease; 0 where no lease is asked for."""
    if not request.HasField("lease"):
        return 0
    seconds = request.lease.seconds + request.lease.nanos / 1e9
    if not 0 < seconds <= MAX_LEASE_SECONDS:
        raise InvalidInput(f"lease: {seconds:g} s; allowed: above 0 s, to {MAX_LEASE_SECONDS} s", "lease")
    return seconds


def since_of(stamp: Timestamp) -> datetime:
    """Return from when on to count; what is not given means all."""
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        told = f"since: {stamp.seconds} s; allowed: a time of the years 1 to 9999"
        raise InvalidInput(told, "since") from None


def unsigned(sample: Sample) -> Sample:
    """Return a reply of a study without a word on who wrote it: a labeler who sees it is not blind."""
    return sample.model_copy(update={"policy_version": "", "tokens": 0, "logprob": 0.0, "seed": 0})
