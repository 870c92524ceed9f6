"""AssessmentService: the door for people's ratings, rankings and marked faults."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import grpc
from charter.v1 import assessment_pb2, assessment_pb2_grpc

from rlhf_core.annotation.next_pairs import standing_of
from rlhf_core.errors import InvalidInput, NotFound
from rlhf_core.records.assessments import Assessment
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Sample
from rlhf_core.store.store import Store
from rlhf_core.studies.ratings import settle_ratings
from rlhf_core.studies.results import check_not_closed_by_hand
from services.rpc.constitutions import Constitutions
from services.rpc.labelling.annotators import of_no_run, own_labeler
from services.rpc.labelling.assessment_answers import answer_of
from services.rpc.labelling.next_requests import count_of, lease_seconds_of, since_of, unsigned
from services.rpc.run_changes import tried
from services.rpc.run_references import run_id_of
from services.serving.executor import Executor
from services.wire import enums, field_masks
from services.wire.assessments import assessment_to_message
from services.wire.paging import body_of, page_of
from services.wire.samples import sample_to_message, samples_from_messages
from services.wire.stored_records import human_labeler

PAGE = 100
MAX_PAGE_BYTES = 8 * 2**20
"""Of replies; a page ends before it has more, but for one assessment whose replies alone are larger."""


class AssessmentService(assessment_pb2_grpc.AssessmentServiceServicer):
    def __init__(self, store: Store, constitutions: Constitutions, io: Executor):
        self._store = store
        self._constitutions = constitutions
        self._io = io

    async def NextAssessment(
        self, request: assessment_pb2.NextAssessmentRequest, context: grpc.aio.ServicerContext
    ) -> assessment_pb2.NextAssessmentResponse:
        labeler, form = own_labeler(request.labeler), enums.given(enums.FORMS, request.form, "form")
        run_id = await self._io.run(run_id_of, self._store, request.run_id)
        await self._io.run(self._constitutions.check_objective, request.objective, run_id)
        await self._io.run(standing_of, self._store, labeler)
        asked = labeler, request.objective, form, run_id
        size = count_of(request), lease_seconds_of(request)
        found = await self._io.run(self._store.assessment_queue.upcoming, *asked, *size)
        studied = await self._io.run(self._store.study_ratings.among, [item.id for item in found])
        items = [
            assessment_pb2.AssessmentItem(
                id=item.id,
                samples=[
                    sample_to_message(unsigned(sample) if item.id in studied else sample) for sample in item.samples
                ],
            )
            for item in found
        ]
        remaining = await self._io.run(self._store.assessment_queue.waiting, *asked)
        return assessment_pb2.NextAssessmentResponse(items=items, remaining=remaining)

    async def SubmitAssessment(
        self, request: assessment_pb2.SubmitAssessmentRequest, context: grpc.aio.ServicerContext
    ) -> assessment_pb2.SubmitAssessmentResponse:
        own_labeler(request.labeler)
        of_no_run(request.samples)
        stored = await self._io.run(self._submit, request)
        return assessment_pb2.SubmitAssessmentResponse(assessment=assessment_to_message(stored))

    async def UndoAssessment(
        self, request: assessment_pb2.UndoAssessmentRequest, context: grpc.aio.ServicerContext
    ) -> assessment_pb2.UndoAssessmentResponse:
        own_labeler(request.labeler)
        undone = await self._io.run(self._undo, request)
        message = assessment_to_message(undone) if undone else None
        return assessment_pb2.UndoAssessmentResponse(assessment=message)

    async def ListAssessments(
        self, request: assessment_pb2.ListAssessmentsRequest, context: grpc.aio.ServicerContext
    ) -> assessment_pb2.ListAssessmentsResponse:
        return await self._io.run(self._list, request)

    async def GetProgress(
        self, request: assessment_pb2.GetProgressRequest, context: grpc.aio.ServicerContext
    ) -> assessment_pb2.GetProgressResponse:
        labeler, since = own_labeler(request.labeler), since_of(request.since)
        forms = await self._io.run(self._store.assessments.given, labeler, since)
        return assessment_pb2.GetProgressResponse(
            pairs=await self._io.run(self._store.preferences.given, labeler, since),
            ratings=forms.get("rating", 0),
            rankings=forms.get("ranking", 0),
            spans=forms.get("spans", 0),
        )

    def _submit(self, request: assessment_pb2.SubmitAssessmentRequest) -> Assessment:
        """Store the assessment once, or only try to."""
        if request.validate_only:
            return tried(self._store, lambda: self._store_assessment(request))
        body = body_of(request, "request_id").hex()
        known = self._store.requests.once(
            "SubmitAssessment", request.request_id, body, lambda: self._store_assessment(request).model_dump_json()
        )
        return Assessment.model_validate_json(known)

    def _store_assessment(self, request: assessment_pb2.SubmitAssessmentRequest) -> Assessment:
        """Store the assessment, and in the same commit the replies that came with it."""
        form = enums.given(enums.FORMS, request.form, "form")
        labeler = human_labeler(request.labeler)
        run_id = run_id_of(self._store, request.run_id)
        self._constitutions.check_objective(request.objective, run_id)
        constitution = self._constitutions.of_run(run_id)
        with self._store.transaction():
            samples = self._samples(request)
            answer = answer_of(request, form, samples, constitution)
            stored = self._store.assessments.submit(
                Assessment(
                    id=content_id("assessment", request.request_id or uuid.uuid4().hex),
                    form=form,
                    item_id=samples[0].prompt.id if form == "ranking" else samples[0].id,
                    sample_ids=tuple(sample.id for sample in samples),
                    objective=request.objective,
                    labeler=labeler,
                    **answer,
                    reason=request.reason,
                    constitution_hash=constitution.hash,
                    run_id=self._run_of(samples),
                )
            )
            if study := self._study_of(stored):
                check_not_closed_by_hand(self._store, study, stored.objective, "ratings")
            self._settle(stored)
            return stored

    def _study_of(self, given: Assessment) -> str:
        return self._store.study_ratings.of_reply(given.item_id) if given.form == "rating" else ""

    def _settle(self, given: Assessment) -> None:
        """Where a study asks for such ratings, see whether it has them all by now."""
        if study := self._study_of(given):
            settle_ratings(self._store, study, given.objective)

    def _samples(self, request: assessment_pb2.SubmitAssessmentRequest) -> list[Sample]:
        if bool(request.sample_ids) == bool(request.samples):
            raise InvalidInput("sample_ids: give either the ids of samples, or samples", "sample_ids")
        if request.samples:
            return self._brought(samples_from_messages(request.samples))
        found = self._store.samples.by_id(request.sample_ids)
        for identity in request.sample_ids:
            if identity not in found:
                raise NotFound(f"no sample '{identity[:200]}' in the store")
        return [found[identity] for identity in request.sample_ids]

    def _brought(self, samples: Sequence[Sample]) -> list[Sample]:
        """Store them, and return them as the store has them."""
        self._store.samples.add(samples)
        found = self._store.samples.by_id(sample.id for sample in samples)
        for number, sample in enumerate(samples):
            kept = found[sample.id]
            if (kept.response, kept.prompt.messages) != (sample.response, sample.prompt.messages):
                told = f"samples[{number}].id: the store has another reply under '{sample.id[:200]}'; allowed: a new id"
                raise InvalidInput(told, f"samples[{number}].id")
        return [found[sample.id] for sample in samples]

    def _run_of(self, samples: Sequence[Sample]) -> str:
        """The run of all of them; none where it was deleted."""
        runs = {sample.run_id for sample in samples}
        try:
            return self._store.runs.get(runs.pop()).id if len(runs) == 1 and "" not in runs else ""
        except NotFound:
            return ""

    def _undo(self, request: assessment_pb2.UndoAssessmentRequest) -> Assessment | None:
        """Take back the last assessment once, or only look which it would be."""
        labeler = human_labeler(request.labeler)
        which = enums.value(enums.FORMS, request.form, "form"), request.item_id, request.objective
        if request.validate_only:
            return tried(self._store, lambda: self._store.assessments.undo(labeler, *which))

        def undo() -> str:
            with self._store.transaction():
                undone = self._store.assessments.undo(labeler, *which)
                if undone:
                    self._settle(undone)
            return undone.model_dump_json() if undone else ""

        body = body_of(request, "request_id").hex()
        known = self._store.requests.once("UndoAssessment", request.request_id, body, undo)
        return Assessment.model_validate_json(known) if known else None

    def _list(self, request: assessment_pb2.ListAssessmentsRequest) -> assessment_pb2.ListAssessmentsResponse:
        form, asked = enums.value(enums.FORMS, request.form, "form"), page_of(request, PAGE)
        run_id = run_id_of(self._store, request.run_id)
        found = self._store.assessments.page(asked.size + 1, asked.after, request.objective, run_id, form)
        shown, samples, size = found[: asked.size], dict[str, Sample](), 0
        for number, placed in enumerate(shown if request.with_samples else ()):
            own = self._store.samples.by_id(placed.record.sample_ids)
            size += sum(sample_to_message(sample).ByteSize() for sample in own.values())
            if number and size > MAX_PAGE_BYTES:
                shown = shown[:number]
                break
            samples |= own
        messages = [assessment_to_message(placed.record) for placed in shown]
        more = len(found) > len(shown)
        return assessment_pb2.ListAssessmentsResponse(
            assessments=field_masks.read(messages, request.read_mask, assessment_pb2.Assessment),
            next_page_token=asked.token(shown[-1].place if more else 0),
            samples=[sample_to_message(sample) for sample in samples.values()],
        )
