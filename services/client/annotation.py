"""The client of AnnotationService: how good people's labels are, and what reviewers decide."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import NamedTuple

from charter.v1 import annotation_pb2, annotation_pb2_grpc

from rlhf_core.annotation.disagreements import Disagreement, DisagreementKind
from rlhf_core.annotation.records import ObjectiveQuality
from rlhf_core.records.annotation import Adjudication, Answer, Standing
from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison
from services.client.connection import Connection
from services.wire import enums
from services.wire.annotation import (
    adjudication_from_message,
    answer_from_message,
    quality_from_message,
)
from services.wire.samples import comparison_from_message


class Inbox(NamedTuple):
    """List what a reviewer should decide, each with its comparison, and how many there are in all."""

    disagreements: list[tuple[Comparison, Disagreement]]
    total: int


class Listed(NamedTuple):
    """An answer with all around it."""

    answer: Answer
    comparison: Comparison
    adjudication: Adjudication | None


class AnnotationClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = annotation_pb2_grpc.AnnotationServiceStub(connection.channel)

    def quality(self, objective: str = "", run_id: str = "") -> list[ObjectiveQuality]:
        """Tell how good people's labels are, of one objective or of each that the constitution has."""
        request = annotation_pb2.GetQualityRequest(objective=objective, run_id=run_id)
        return [quality_from_message(each) for each in self._connection.call(self._stub.GetQuality, request).objectives]

    def set_annotator(self, labeler: str, standing: Standing, reason: str = "", changed_by: str = "") -> None:
        """Let somebody in, shut them out with all their labels, or leave them to the rule again."""
        request = annotation_pb2.SetAnnotatorRequest(
            labeler=labeler,
            standing=enums.number(enums.STANDINGS, standing),
            reason=reason,
            changed_by=changed_by,
        )
        self._connection.call(self._stub.SetAnnotator, request)

    def disagreements(
        self, objective: str, run_id: str = "", kind: DisagreementKind | None = None, count: int = 20
    ) -> Inbox:
        """List what a reviewer should decide, the least clear first."""
        request = annotation_pb2.ListDisagreementsRequest(
            objective=objective, run_id=run_id, kind=enums.number(enums.DISAGREEMENTS, kind), count=count
        )
        found = self._connection.call(self._stub.ListDisagreements, request)
        return Inbox([_disagreement(message) for message in found.disagreements], found.total)

    def adjudicate(
        self,
        comparison_id: str,
        objective: str,
        choice: Choice,
        reason: str = "",
        adjudicated_by: str = "",
        request_id: str = "",
    ) -> Adjudication:
        """Decide what is right; the comparison is a gold item from now on. Durable when it returns.

        The same `request_id` again returns the decision stored first.
        """
        request = annotation_pb2.AdjudicateRequest(
            comparison_id=comparison_id,
            objective=objective,
            choice=enums.number(enums.CHOICES, choice),
            reason=reason,
            adjudicated_by=adjudicated_by,
            request_id=request_id or uuid.uuid4().hex,
        )
        return adjudication_from_message(self._connection.call(self._stub.Adjudicate, request).adjudication)

    def withdraw_adjudication(self, comparison_id: str, objective: str, withdrawn_by: str = "") -> Adjudication:
        """Take a decision back and return it. Raises NotFound where none holds."""
        request = annotation_pb2.WithdrawAdjudicationRequest(
            comparison_id=comparison_id, objective=objective, withdrawn_by=withdrawn_by
        )
        return adjudication_from_message(self._connection.call(self._stub.WithdrawAdjudication, request).adjudication)

    def answers(self, objective: str = "", run_id: str = "", labeler: str = "") -> Iterator[Listed]:
        """Yield all that people answered and that stands, oldest first, page by page."""
        request = annotation_pb2.ListAnswersRequest(objective=objective, run_id=run_id, labeler=labeler, page_size=200)
        while True:
            page = self._connection.call(self._stub.ListAnswers, request)
            for each in page.answers:
                decided = adjudication_from_message(each.adjudication) if each.HasField("adjudication") else None
                yield Listed(answer_from_message(each.answer), comparison_from_message(each.comparison), decided)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token


def _disagreement(message: annotation_pb2.Disagreement) -> tuple[Comparison, Disagreement]:
    comparison = comparison_from_message(message.comparison)
    found = Disagreement(
        comparison_id=comparison.id,
        kind=enums.given(enums.DISAGREEMENTS, message.kind, "kind"),
        probability=message.probability,
        answers=[answer_from_message(answer) for answer in message.answers],
        judges=dict(message.judges),
        adjudication=adjudication_from_message(message.adjudication) if message.HasField("adjudication") else None,
    )
    return comparison, found
