"""PreferenceService: the door for people's labels."""

from __future__ import annotations

import uuid

import grpc
from charter.v1 import preference_pb2, preference_pb2_grpc

from rlhf_core.annotation.next_pairs import Question, upcoming
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.preference_labels import probability_of
from rlhf_core.records.base import content_id
from rlhf_core.records.feedback import Preference
from rlhf_core.records.queue import PairInformation
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import UNIFORM_SLICE, is_swapped, uniform_draw
from rlhf_core.store.store import Store
from rlhf_core.studies.results import check_not_closed_by_hand, settle
from services.rpc.constitutions import Constitutions
from services.rpc.labelling.annotators import of_no_run, own_labeler
from services.rpc.labelling.next_requests import count_of, lease_seconds_of, since_of, unsigned
from services.rpc.run_changes import tried
from services.rpc.run_references import run_id_of
from services.serving.executor import Executor
from services.wire import enums, field_masks, resource_names
from services.wire.paging import body_of, page_of
from services.wire.samples import comparison_from_message, comparison_to_message, constitution_to_message
from services.wire.stored_records import human_labeler, preference_to_message

PAGE = 100
MAX_QUEUED = 1000


class PreferenceService(preference_pb2_grpc.PreferenceServiceServicer):
    def __init__(self, store: Store, constitutions: Constitutions, io: Executor, labelling: LabellingConfig):
        """`labelling` says how people who label are measured."""
        self._store = store
        self._constitutions = constitutions
        self._io = io
        self._labelling = labelling

    async def NextComparison(
        self, request: preference_pb2.NextComparisonRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.NextComparisonResponse:
        labeler = own_labeler(request.labeler)
        run_id = await self._io.run(run_id_of, self._store, request.run_id)
        await self._io.run(self._constitutions.check_objective, request.objective, run_id)
        question = Question(labeler, request.objective, run_id or None, request.uniform)
        size, since = (count_of(request), lease_seconds_of(request)), since_of(request.since)
        found = await self._io.run(upcoming, self._store, question, self._labelling, *size)
        pairs = await self._io.run(self._unnamed, found.comparisons)
        shown = [
            preference_pb2.ShownComparison(
                comparison=comparison_to_message(comparison), swapped=is_swapped(labeler, comparison.id)
            )
            for comparison in pairs
        ]
        return preference_pb2.NextComparisonResponse(
            comparison=shown[0].comparison if shown else None,
            remaining=found.remaining,
            shown=shown,
            given=await self._io.run(self._store.preferences.given, labeler, since),
        )

    async def SubmitPreference(
        self, request: preference_pb2.SubmitPreferenceRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.SubmitPreferenceResponse:
        own_labeler(request.labeler)
        if request.WhichOneof("subject") == "comparison":
            of_no_run([request.comparison.a, request.comparison.b], request.comparison)
        stored = await self._io.run(self._submit, request)
        return preference_pb2.SubmitPreferenceResponse(preference=preference_to_message(stored))

    async def UndoPreference(
        self, request: preference_pb2.UndoPreferenceRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.UndoPreferenceResponse:
        own_labeler(request.labeler)
        undone = await self._io.run(self._undo, request)
        message = preference_to_message(undone) if undone else None
        return preference_pb2.UndoPreferenceResponse(preference=message)

    async def ListPreferences(
        self, request: preference_pb2.ListPreferencesRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.ListPreferencesResponse:
        kind = enums.value(enums.LABELERS, request.labelers, "labelers")
        page = page_of(request, PAGE)
        run_id = await self._io.run(run_id_of, self._store, request.run_id) or None
        preferences, last = await self._io.run(
            self._store.preferences.page, page.size, page.after, request.objective or None, run_id, kind
        )
        messages = [preference_to_message(preference) for preference in preferences]
        shown = field_masks.read(messages, request.read_mask, preference_pb2.Preference)
        return preference_pb2.ListPreferencesResponse(preferences=shown, next_page_token=page.token(last))

    async def GetGuidelines(
        self, request: preference_pb2.GetGuidelinesRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.GetGuidelinesResponse:
        run_id = await self._io.run(run_id_of, self._store, request.run_id)
        constitution = await self._io.run(self._constitutions.of_run, run_id)
        return preference_pb2.GetGuidelinesResponse(constitution=constitution_to_message(constitution))

    async def ExplainQueue(
        self, request: preference_pb2.ExplainQueueRequest, context: grpc.aio.ServicerContext
    ) -> preference_pb2.ExplainQueueResponse:
        run_id = await self._io.run(run_id_of, self._store, request.run_id)
        await self._io.run(self._constitutions.check_objective, request.objective, run_id)
        if request.count < 0:
            raise InvalidInput(f"count: {request.count}; allowed: 0 to {MAX_QUEUED}", "count")
        size = min(request.count or PAGE, MAX_QUEUED)
        found = await self._io.run(self._store.pair_information.find, request.objective, run_id or None, size)
        return preference_pb2.ExplainQueueResponse(pairs=[_queued(one) for one in found])

    def _submit(self, request: preference_pb2.SubmitPreferenceRequest) -> Preference:
        """Store the label once, or only try to."""
        if request.validate_only:
            return tried(self._store, lambda: self._store_label(request))
        body = body_of(request, "request_id").hex()
        known = self._store.requests.once(
            "SubmitPreference", request.request_id, body, lambda: self._store_label(request).model_dump_json()
        )
        return Preference.model_validate_json(known)

    def _undo(self, request: preference_pb2.UndoPreferenceRequest) -> Preference | None:
        """Take back the last label once, or only look which it would be."""
        labeler, request_id = human_labeler(request.labeler), request.request_id
        given = resource_names.identity(resource_names.COMPARISONS, request.comparison_id, "comparison_id")
        which = given, request.objective
        if request.validate_only:
            return tried(self._store, lambda: self._store.preferences.undo(labeler, "", *which))

        def undo() -> str:
            with self._store.transaction():
                undone = self._store.preferences.undo(labeler, request_id, *which)
                if undone:
                    self._settle(undone)
            return undone.model_dump_json() if undone else ""

        known = self._store.requests.once("UndoPreference", request_id, body_of(request, "request_id").hex(), undo)
        return Preference.model_validate_json(known) if known else None

    def _store_label(self, request: preference_pb2.SubmitPreferenceRequest) -> Preference:
        """Store the label, and in the same commit the comparison that came with it."""
        request_id = request.request_id or uuid.uuid4().hex
        labeler = human_labeler(request.labeler)
        choice = enums.given(enums.CHOICES, request.choice, "choice")
        with self._store.transaction():
            comparison = self._comparison(request)
            self._constitutions.check_objective_of(request.objective, comparison)
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
                swapped=request.swapped if request.HasField("swapped") else None,
            )
            stored = self._store.preferences.submit(label, request_id)
            if study := self._store.studies.of_comparison(stored.comparison_id):
                check_not_closed_by_hand(self._store, study, stored.objective, "pairs")
            self._settle(stored)
            return stored

    def _settle(self, label: Preference) -> None:
        """Where the pair is of a study, see whether its question is decided by now."""
        if study := self._store.studies.of_comparison(label.comparison_id):
            settle(self._store, study, label.objective)

    def _unnamed(self, found: list[Comparison]) -> list[Comparison]:
        """The pairs of studies without a word on who wrote what: a labeler who sees it is not blind."""
        studied = self._store.studies.among(pair.id for pair in found)
        return [_unsigned(pair) if pair.id in studied else pair for pair in found]

    def _comparison(self, request: preference_pb2.SubmitPreferenceRequest) -> Comparison:
        if request.WhichOneof("subject") == "comparison":
            return self._brought(comparison_from_message(request.comparison))
        if not request.comparison_id:
            raise InvalidInput("comparison_id: give the id of a comparison, or a comparison", "comparison_id")
        return self._store.comparisons.get(
            resource_names.identity(resource_names.COMPARISONS, request.comparison_id, "comparison_id")
        )

    def _brought(self, comparison: Comparison) -> Comparison:
        """Store it. Raises InvalidInput where the store has other words under its ids, which nobody has judged here."""
        self._store.comparisons.add([comparison])
        kept = self._store.comparisons.get(comparison.id)
        if _words(kept) != _words(comparison):
            told = f"the store has other replies under '{comparison.id[:200]}', or under the ids of its samples"
            raise InvalidInput(f"comparison.id: {told}; allowed: new ids", "comparison.id")
        return comparison if comparison.run_id else kept


def _words(pair: Comparison) -> tuple[object, ...]:
    return pair.prompt.messages, pair.a.response, pair.b.response


def _queued(told: PairInformation) -> preference_pb2.QueuedPair:
    uniform = uniform_draw(told.comparison_id) < UNIFORM_SLICE
    return preference_pb2.QueuedPair(**told.model_dump(exclude={"objective"}), uniform=uniform)


def _unsigned(pair: Comparison) -> Comparison:
    return pair.model_copy(update={"a": unsigned(pair.a), "b": unsigned(pair.b)})
