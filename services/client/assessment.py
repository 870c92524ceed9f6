"""The client of AssessmentService: people's ratings, rankings and marked faults."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from charter.v1 import assessment_pb2, assessment_pb2_grpc

from rlhf_core.records.assessments import Assessment, Form
from rlhf_core.records.samples import Sample
from services.client.connection import Connection
from services.wire import enums
from services.wire.assessments import assessment_from_message
from services.wire.paging import MAX_PAGE
from services.wire.samples import sample_from_message, sample_to_message


class Item(NamedTuple):
    """What is assessed at once: one reply, or several to one prompt in the order drawn for the labeler."""

    id: str
    """Of the sample, or of the prompt."""
    samples: tuple[Sample, ...]


class Upcoming(NamedTuple):
    """What comes next for a labeler, and how many wait, counted up to 1,000."""

    items: tuple[Item, ...]
    left: int


class Fault(NamedTuple):
    """A part of a reply, from a character to before another, that breaks a principle."""

    start: int
    end: int
    principle_id: str


class AssessmentClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = assessment_pb2_grpc.AssessmentServiceStub(connection.channel)

    def upcoming(
        self, labeler: str, objective: str, form: Form, run_id: str = "", count: int = 1, lease_seconds: float = 0
    ) -> Upcoming:
        """Return what this person should assess next for the objective; held for them where a lease is asked for."""
        request = assessment_pb2.NextAssessmentRequest(
            labeler=labeler, objective=objective, form=enums.number(enums.FORMS, form), run_id=run_id, count=count
        )
        if lease_seconds:
            request.lease.FromNanoseconds(round(lease_seconds * 1e9))
        answer = self._connection.call(self._stub.NextAssessment, request)
        items = (Item(item.id, tuple(map(sample_from_message, item.samples))) for item in answer.items)
        return Upcoming(tuple(items), answer.remaining)

    def submit(
        self,
        form: Form,
        replies: Sequence[Sample | str],
        *,
        objective: str,
        labeler: str,
        rating: int | None = None,
        ranks: Sequence[int] = (),
        all_bad: bool = False,
        faults: Sequence[Fault] | None = None,
        reason: str = "",
        run_id: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Assessment:
        """Store one assessment of replies, each a sample or the id of a stored one. Durable when it returns.

        A rating is from 1, the worst, to 7; ranks are 1 for the best, equal ones ties; no faults say that there are
        none. Without an answer it is skipped. `run_id` says by whose constitution the labeler goes. The same
        `request_id` again returns what was stored first. With `validate_only` nothing is stored.
        """
        request = assessment_pb2.SubmitAssessmentRequest(
            form=enums.number(enums.FORMS, form),
            sample_ids=[reply for reply in replies if isinstance(reply, str)],
            samples=[sample_to_message(reply) for reply in replies if isinstance(reply, Sample)],
            objective=objective,
            labeler=labeler,
            rating=rating,
            reason=reason,
            run_id=run_id,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
        )
        if ranks:
            request.ranks.ranks.extend(ranks)
        elif all_bad:
            request.all_bad = True
        elif faults is not None:
            spans = [assessment_pb2.FaultSpan(**fault._asdict()) for fault in faults]
            request.faults.CopyFrom(assessment_pb2.FaultSpans(spans=spans))
        elif rating is None:
            request.skip = True
        return assessment_from_message(self._connection.call(self._stub.SubmitAssessment, request).assessment)

    def undo(self, labeler: str, form: Form | None = None, request_id: str = "") -> Assessment | None:
        """Take back the labeler's last assessment, of a form where one is given; None when there was none."""
        request = assessment_pb2.UndoAssessmentRequest(
            labeler=labeler, form=enums.number(enums.FORMS, form), request_id=request_id or uuid.uuid4().hex
        )
        answer = self._connection.call(self._stub.UndoAssessment, request)
        return assessment_from_message(answer.assessment) if answer.HasField("assessment") else None

    def list_assessments(self, objective: str = "", run_id: str = "", form: Form | None = None) -> Iterator[Assessment]:
        """Yield all assessments that stand, oldest first, page by page."""
        request = assessment_pb2.ListAssessmentsRequest(
            form=enums.number(enums.FORMS, form), objective=objective, run_id=run_id, page_size=MAX_PAGE
        )
        while True:
            answer = self._connection.call(self._stub.ListAssessments, request)
            yield from map(assessment_from_message, answer.assessments)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token
