"""The client of StudyService: preference studies, and their ratings."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence

from charter.v1 import study_pb2, study_pb2_grpc

from rlhf_core.records.studies import Stopping, Study, StudyResults
from services.client.connection import Connection
from services.wire import enums
from services.wire.studies import STOPPING, results_from_message, study_from_message


class StudyClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = study_pb2_grpc.StudyServiceStub(connection.channel)

    def create_study(
        self,
        policies: Sequence[str],
        *,
        objectives: Sequence[str] = (),
        pairs: int = 0,
        labels_per_pair: int = 0,
        stopping: Stopping = "sequential",
        alpha: float = 0.0,
        temperature: float = 0.0,
        ratings_per_reply: int = 0,
        prompts: str = "",
        seed: int = 0,
        constitution: str = "",
        display_name: str = "",
        request_id: str = "",
        validate_only: bool = False,
    ) -> Study:
        """Declare a study, and queue the drawing of its replies. What is not given is the server's default.

        `prompts` is a dataset or a file of the server's; none means the built-in world's held-out prompts. With
        `ratings_per_reply` so many people also rate each reply by itself.
        """
        plan = study_pb2.StudyPlan(
            policies=policies,
            objectives=objectives,
            pairs=pairs,
            labels_per_pair=labels_per_pair,
            stopping=enums.number(STOPPING, stopping),
            alpha=alpha,
            temperature=temperature,
            ratings_per_reply=ratings_per_reply,
        )
        request = study_pb2.CreateStudyRequest(
            plan=plan,
            prompts=prompts,
            seed=seed,
            constitution=constitution,
            display_name=display_name,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
        )
        return study_from_message(self._connection.call(self._stub.CreateStudy, request).study)

    def get_study(self, study_id: str) -> Study:
        """Return a study's plan, and how far it is."""
        request = study_pb2.GetStudyRequest(study_id=study_id)
        return study_from_message(self._connection.call(self._stub.GetStudy, request).study)

    def list_studies(self) -> Iterator[Study]:
        """Yield all studies, newest first, page by page."""
        request = study_pb2.ListStudiesRequest()
        while True:
            answer = self._connection.call(self._stub.ListStudies, request)
            yield from (study_from_message(message) for message in answer.studies)
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    def close_study(self, study_id: str) -> Study:
        """Ask a study's open questions no more."""
        request = study_pb2.CloseStudyRequest(study_id=study_id)
        return study_from_message(self._connection.call(self._stub.CloseStudy, request).study)

    def get_study_results(self, study_id: str) -> StudyResults:
        """Return what the labels of a study say. Raises Conflict or Forbidden while that would spoil the study."""
        request = study_pb2.GetStudyResultsRequest(study_id=study_id)
        return results_from_message(self._connection.call(self._stub.GetStudyResults, request))
