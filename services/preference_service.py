"""PreferenceService: the door for people's labels."""

from __future__ import annotations

import uuid

import grpc
from charter.v1 import preference_pb2, preference_pb2_grpc

from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.votes import probability_of
from rlhf_core.records import UNIFORM_SLICE, Comparison, Preference, content_id, uniform_draw
from rlhf_core.store.store import Store
from services import convert, convert_rows, wire
from services.constitutions import Constitutions
from services.executor import Executor

PAGE, MAX_PAGE = 100, 1000
KINDS = (None, "ai", "human")


class PreferenceService(preference_pb2_grpc.PreferenceServiceServicer):
    def __init__(self, store: Store, constitutions: Constitutions, rows: Executor):
        self._store = store
        self._constitutions = constitutions
        self._rows = rows

    async def NextComparison(
        self, request: preference_pb2.NextComparisonRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.NextComparisonResponse:
        labeler = convert_rows.human_labeler(request.labeler)
        await self._rows.run(self._constitutions.check_objective, request.objective, request.run_id)
        found = await self._rows.run(
            self._store.next_comparison, labeler, request.objective, request.run_id or None, request.uniform
        )
        return preference_pb2.NextComparisonResponse(comparison=convert.comparison_to_message(found) if found else None)

    async def SubmitPreference(
        self, request: preference_pb2.SubmitPreferenceRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.SubmitPreferenceResponse:
        stored = await self._rows.run(self._submit, request)
        return preference_pb2.SubmitPreferenceResponse(preference=convert_rows.preference_to_message(stored))

    async def UndoPreference(
        self, request: preference_pb2.UndoPreferenceRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.UndoPreferenceResponse:
        labeler = convert_rows.human_labeler(request.labeler)
        undone = await self._rows.run(self._store.undo_preference, labeler, request.request_id)
        message = convert_rows.preference_to_message(undone) if undone else None
        return preference_pb2.UndoPreferenceResponse(preference=message)

    async def ListPreferences(
        self, request: preference_pb2.ListPreferencesRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.ListPreferencesResponse:
        kind = wire.value(KINDS, request.labelers, "labelers")
        found = await self._rows.run(self._store.preferences, request.objective or None, request.run_id or None, kind)
        page, token = page_of(found, request.page_size, request.page_token)
        messages = [convert_rows.preference_to_message(preference) for preference in page]
        return preference_pb2.ListPreferencesResponse(preferences=messages, next_page_token=token)

    def _submit(self, request: preference_pb2.SubmitPreferenceRequest) -> Preference:
        """Store the label, and in the same commit the comparison that came with it."""
        request_id = request.request_id or uuid.uuid4().hex
        labeler = convert_rows.human_labeler(request.labeler)
        choice = wire.given(wire.CHOICES, request.choice, "choice")
        with self._store.transaction():
            comparison = self._comparison(request)
            self._constitutions.check_objective(request.objective, comparison.run_id)
            label = Preference(
                id=content_id("preference", request_id),
                comparison_id=comparison.id,
                objective=request.objective,
                labeler=labeler,
                choice=choice,
                probability=probability_of(choice),
                reason=request.reason,
                run_id=comparison.run_id,
                uniform=uniform_draw(comparison.id) < UNIFORM_SLICE,
            )
            return self._store.submit_preference(label, request_id)

    def _comparison(self, request: preference_pb2.SubmitPreferenceRequest) -> Comparison:
        if request.WhichOneof("subject") == "comparison":
            comparison = convert.comparison_from_message(request.comparison)
            self._store.add_comparisons([comparison])
            return comparison
        if not request.comparison_id:
            raise InvalidInput("comparison_id: give the id of a comparison, or a comparison", "comparison_id")
        return self._store.comparison(request.comparison_id)


def page_of(found: list[Preference], size: int, token: str) -> tuple[list[Preference], str]:
    """A page that begins after the label whose id the token is, and the token of the next page."""
    if size < 0:
        raise InvalidInput(f"page_size: {size}; allowed: 0 to {MAX_PAGE}", "page_size")
    ids = [preference.id for preference in found]
    if token and token not in ids:
        raise InvalidInput("page_token: not one that this list returned", "page_token")
    start = ids.index(token) + 1 if token else 0
    page = found[start : start + min(size or PAGE, MAX_PAGE)]
    return page, page[-1].id if start + len(page) < len(found) else ""
