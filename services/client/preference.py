"""The client of PreferenceService: people's labels."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import NamedTuple

from charter.v1 import preference_pb2, preference_pb2_grpc

from rlhf_core.records.feedback import Choice, Labelers, Preference
from rlhf_core.records.samples import Comparison
from services.client.connection import Connection
from services.wire import enums
from services.wire.samples import comparison_from_message, comparison_to_message
from services.wire.stored_records import preference_from_message


class Waiting(NamedTuple):
    """The next comparison, none when everything is labelled, and how many wait, it included."""

    comparison: Comparison | None
    left: int


class PreferenceClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = preference_pb2_grpc.PreferenceServiceStub(connection.channel)

    def next_comparison(
        self, labeler: str, objective: str, run_id: str = "", uniform: bool = False
    ) -> Comparison | None:
        """Return the next comparison to label; none when everything is labelled."""
        return self.waiting(labeler, objective, run_id, uniform).comparison

    def waiting(self, labeler: str, objective: str, run_id: str = "", uniform: bool = False) -> Waiting:
        """Return what this person should label next for the objective, and how much there is."""
        request = preference_pb2.NextComparisonRequest(
            labeler=labeler, objective=objective, run_id=run_id, uniform=uniform
        )
        answer = self._connection.call(self._stub.NextComparison, request)
        comparison = comparison_from_message(answer.comparison) if answer.HasField("comparison") else None
        return Waiting(comparison, answer.remaining)

    def submit_preference(
        self,
        comparison: Comparison | str,
        *,
        objective: str,
        labeler: str,
        choice: Choice,
        reason: str = "",
        request_id: str = "",
        validate_only: bool = False,
        swapped: bool | None = None,
    ) -> Preference:
        """Store one label on a comparison of the store (its id), or on one brought along. Durable when it returns.

        The same `request_id` again returns the label stored first. With `validate_only` nothing is stored. `swapped`
        says whether the labeler saw b on the left.
        """
        known = isinstance(comparison, str)
        request = preference_pb2.SubmitPreferenceRequest(
            comparison_id=comparison if known else None,
            comparison=None if known else comparison_to_message(comparison),
            objective=objective,
            labeler=labeler,
            choice=enums.number(enums.CHOICES, choice),
            reason=reason,
            request_id=request_id or uuid.uuid4().hex,
            validate_only=validate_only,
        )
        if swapped is not None:
            request.swapped = swapped
        answer = self._connection.call(self._stub.SubmitPreference, request)
        return preference_from_message(answer.preference)

    def undo_preference(self, labeler: str, request_id: str = "") -> Preference | None:
        """Take back the labeler's last label and return it; None when there was none."""
        request = preference_pb2.UndoPreferenceRequest(labeler=labeler, request_id=request_id or uuid.uuid4().hex)
        answer = self._connection.call(self._stub.UndoPreference, request)
        return preference_from_message(answer.preference) if answer.HasField("preference") else None

    def objectives(self, run_id: str = "") -> dict[str, str]:
        """Return what people label for, each objective with what it means: a run's, or else the server's own."""
        request = preference_pb2.GetGuidelinesRequest(run_id=run_id)
        found = self._connection.call(self._stub.GetGuidelines, request).constitution.objectives
        return {objective.name: objective.description for objective in found}

    def list_preferences(
        self, objective: str = "", run_id: str = "", labelers: Labelers | None = None
    ) -> Iterator[Preference]:
        """Yield all labels, oldest first, page by page."""
        request = preference_pb2.ListPreferencesRequest(
            objective=objective, run_id=run_id, labelers=enums.number(enums.LABELERS, labelers), page_size=1000
        )
        for answer in self._connection.pages(self._stub.ListPreferences, request):
            yield from (preference_from_message(message) for message in answer.preferences)
