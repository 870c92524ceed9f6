"""What a request to store an assessment answers, checked against the replies and the constitution it is about."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.v1 import assessment_pb2

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.errors import InvalidInput, suggestion
from rlhf_core.records.assessments import HIGHEST, LOWEST, FaultSpan, Form
from rlhf_core.records.samples import Sample

MOST_RANKED = 10
MOST_SPANS = 100
ALLOWED: dict[Form, tuple[str, ...]] = {
    "rating": ("rating", "skip"),
    "ranking": ("ranks", "all_bad", "skip"),
    "spans": ("faults", "skip"),
}
"""The answers of each form."""

Request = assessment_pb2.SubmitAssessmentRequest


def answer_of(request: Request, form: Form, samples: Sequence[Sample], constitution: Constitution) -> dict[str, Any]:
    """Read the fields of an `Assessment` that say what was answered. Raises InvalidInput naming what is wrong."""
    _check_replies(form, samples)
    given = request.WhichOneof("answer")
    if given not in ALLOWED[form]:
        told = f"{given} is no answer to a {form}" if given else "not given"
        raise InvalidInput(f"answer: {told}; allowed: {', '.join(ALLOWED[form])}", given or "answer")
    if given in ("skip", "all_bad"):
        if not getattr(request, given):
            raise InvalidInput(f"{given}: false; allowed: true, or another answer", given)
        return {"skipped": True} if given == "skip" else {"all_bad": True}
    if given == "rating":
        if not LOWEST <= request.rating <= HIGHEST:
            raise InvalidInput(f"rating: {request.rating}; allowed: {LOWEST} to {HIGHEST}", "rating")
        return {"rating": request.rating}
    if given == "ranks":
        return {"ranks": _ranks(request.ranks.ranks, len(samples))}
    spans = request.faults.spans
    if len(spans) > MOST_SPANS:
        raise InvalidInput(f"faults.spans: {len(spans)} items; allowed: at most {MOST_SPANS}", "faults.spans")
    return {"spans": tuple(_span(span, i, request, samples[0], constitution) for i, span in enumerate(spans))}


def _check_replies(form: Form, samples: Sequence[Sample]) -> None:
    if form != "ranking":
        if len(samples) != 1:
            raise InvalidInput(f"samples: {len(samples)} replies; allowed: 1, as it is no ranking", "samples")
        return
    if not 2 <= len(samples) <= MOST_RANKED:
        raise InvalidInput(f"samples: {len(samples)} replies; allowed: 2 to {MOST_RANKED} to rank", "samples")
    if len({sample.prompt.messages for sample in samples}) > 1:
        raise InvalidInput("samples: they answer different prompts; allowed: replies to one", "samples")
    if len({sample.response for sample in samples}) < len(samples):
        raise InvalidInput("samples: two of them are the same text; allowed: replies that differ", "samples")


def _ranks(ranks: Sequence[int], replies: int) -> tuple[int, ...]:
    """The ranks without gaps: 1, 3, 3 say what 1, 2, 2 do."""
    if len(ranks) != replies:
        raise InvalidInput(f"ranks: {len(ranks)} ranks of {replies} replies; allowed: one each", "ranks.ranks")
    if min(ranks) < 1:
        raise InvalidInput(f"ranks: {min(ranks)}; allowed: from 1, the best", "ranks.ranks")
    places = {rank: place for place, rank in enumerate(sorted(set(ranks)), 1)}
    return tuple(places[rank] for rank in ranks)


def _span(
    span: assessment_pb2.FaultSpan, number: int, request: Request, sample: Sample, constitution: Constitution
) -> FaultSpan:
    place, length = f"faults.spans[{number}]", len(sample.response)
    if not 0 <= span.start < span.end <= length:
        told = f"{place}: {span.start} to {span.end} of a reply of {length} characters"
        raise InvalidInput(f"{told}; allowed: from 0 to {length}, and not empty", place)
    serving = {each.id: each for each in constitution.principles if request.objective in each.serves}
    if span.principle_id not in serving:
        told = f"no principle '{span.principle_id[:200]}' serves '{request.objective}'"
        hint = suggestion(span.principle_id, list(serving))
        raise InvalidInput(f"{place}.principle_id: {told}; {hint}", f"{place}.principle_id")
    return FaultSpan(
        start=span.start,
        end=span.end,
        principle_id=span.principle_id,
        text=sample.response[span.start : span.end],
        principle_hash=serving[span.principle_id].hash,
    )
