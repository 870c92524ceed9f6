"""Assessments, as records and as messages."""

from __future__ import annotations

from typing import Any

from charter.v1 import assessment_pb2

from rlhf_core.records.assessments import Assessment, FaultSpan
from services.wire import enums


def assessment_to_message(assessment: Assessment) -> assessment_pb2.Assessment:
    plain = {"id", "item_id", "sample_ids", "objective", "labeler", "reason", "constitution_hash", "run_id"}
    return assessment_pb2.Assessment(
        **assessment.model_dump(include=plain),
        **_answer(assessment),
        form=enums.number(enums.FORMS, assessment.form),
        create_time=enums.timestamp(assessment.created_at),
    )


def assessment_from_message(message: assessment_pb2.Assessment) -> Assessment:
    return Assessment(
        id=message.id,
        form=enums.given(enums.FORMS, message.form, "form"),
        item_id=message.item_id,
        sample_ids=tuple(message.sample_ids),
        objective=message.objective,
        labeler=message.labeler,
        rating=message.rating if message.HasField("rating") else None,
        ranks=tuple(message.ranks.ranks),
        spans=tuple(FaultSpan(**enums.fields(span)) for span in message.faults.spans),
        all_bad=message.all_bad,
        skipped=message.skip,
        reason=message.reason,
        constitution_hash=message.constitution_hash,
        run_id=message.run_id,
        created_at=enums.time_text(message.create_time),
    )


def _answer(assessment: Assessment) -> dict[str, Any]:
    """The one field of `answer` that says what was given."""
    if assessment.skipped:
        return {"skip": True}
    if assessment.form == "rating":
        return {"rating": assessment.rating}
    if assessment.form == "spans":
        spans = [assessment_pb2.FaultSpan(**span.model_dump()) for span in assessment.spans]
        return {"faults": assessment_pb2.FaultSpans(spans=spans)}
    return {"all_bad": True} if assessment.all_bad else {"ranks": assessment_pb2.Ranks(ranks=assessment.ranks)}
