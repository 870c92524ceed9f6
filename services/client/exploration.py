"""The client of ExplorationService: a run's samples found by what they are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from charter.v1 import exploration_pb2, exploration_pb2_grpc

from rlhf_core.records.exploration import FoundSample, SampleFilter, Term
from services.client.connection import Connection
from services.wire.exploration import filter_to_message, found_from_message, term_from_message


class FoundPage(NamedTuple):
    samples: list[FoundSample]
    """Fewer than asked for, or none, where the server has looked for as long as it may."""
    next_page_token: str
    """Empty at the end."""
    matches: int
    """On all pages together; where it is not `exact`, at least so many."""
    exact: bool


class ExplorationClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = exploration_pb2_grpc.ExplorationServiceStub(connection.channel)

    def terms(self, run_id: str) -> list[Term]:
        """Tell by what a run's samples can be found, with counts."""
        request = exploration_pb2.ListSampleTermsRequest(run_id=run_id)
        answer = self._connection.call(self._stub.ListSampleTerms, request)
        return [term_from_message(message) for message in answer.terms]

    def page(
        self, run_id: str, wanted: SampleFilter | None = None, page_size: int = 50, page_token: str = ""
    ) -> FoundPage:
        """Return so many samples of a run that are all that is wanted, in the order in which they were stored."""
        request = filter_to_message(wanted or SampleFilter(), run_id, page_size)
        request.page_token = page_token
        answer = self._connection.call(self._stub.FindSamples, request)
        found = [found_from_message(message) for message in answer.samples]
        return FoundPage(found, answer.next_page_token, answer.matches, answer.exact)

    def find(self, run_id: str, wanted: SampleFilter | None = None, page_size: int = 1000) -> Iterator[FoundSample]:
        """Yield all samples that are wanted, page by page."""
        token = ""
        while True:
            found = self.page(run_id, wanted, page_size, token)
            yield from found.samples
            if not (token := found.next_page_token):
                return

    def sample(self, sample_id: str, run_id: str = "") -> exploration_pb2.GetSampleResponse:
        """Return all that is known of a sample. Raises NotFound."""
        request = exploration_pb2.GetSampleRequest(sample_id=sample_id, run_id=run_id)
        return self._connection.call(self._stub.GetSample, request)
