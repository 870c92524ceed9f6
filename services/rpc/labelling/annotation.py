"""AnnotationService: how good people's labels are, and what is decided where they disagree."""

from __future__ import annotations

import grpc
from charter.v1 import annotation_pb2, annotation_pb2_grpc

from rlhf_core.annotation.disagreements import disagreements
from rlhf_core.annotation.next_pairs import calibration
from rlhf_core.annotation.pooled_answers import SAID
from rlhf_core.annotation.quality import Rule, objective_quality
from rlhf_core.annotation.teaching import teaching
from rlhf_core.config.labelling import LabellingConfig
from rlhf_core.errors import InvalidInput
from rlhf_core.records.annotation import Adjudication, AnnotatorChange, Answer
from rlhf_core.store.store import Store
from rlhf_core.studies.results import set_standing
from services.rpc.constitutions import Constitutions
from services.rpc.labelling.annotators import visible_labeler
from services.rpc.run_changes import tried
from services.rpc.run_references import run_id_of
from services.security.callers import CALLER
from services.serving.executor import Executor
from services.wire import enums, field_masks, resource_names
from services.wire.annotation import (
    adjudication_to_message,
    answer_to_message,
    disagreement_to_message,
    quality_to_message,
)
from services.wire.paging import body_of, page_of
from services.wire.samples import comparison_to_message
from services.wire.stored_records import human_labeler

PAGE = 100
SHOWN, MOST_SHOWN = 20, 100
"""Disagreements of one answer."""


class AnnotationService(annotation_pb2_grpc.AnnotationServiceServicer):
    def __init__(self, store: Store, constitutions: Constitutions, io: Executor, labelling: LabellingConfig):
        self._store, self._constitutions, self._io, self._labelling = store, constitutions, io, labelling

    async def GetQuality(
        self, request: annotation_pb2.GetQualityRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.GetQualityResponse:
        return await self._io.run(self._quality, request)

    async def GetAnnotator(
        self, request: annotation_pb2.GetAnnotatorRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.GetAnnotatorResponse:
        return await self._io.run(self._annotator, request, visible_labeler(request.labeler))

    async def SetAnnotator(
        self, request: annotation_pb2.SetAnnotatorRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.SetAnnotatorResponse:
        said = AnnotatorChange(
            labeler=human_labeler(request.labeler),
            standing=enums.given(enums.STANDINGS, request.standing, "standing"),
            reason=request.reason,
            changed_by=CALLER.get().name or request.changed_by,
        )
        stored = await self._io.run(set_standing, self._store, said)
        return annotation_pb2.SetAnnotatorResponse(
            labeler=stored.labeler, standing=request.standing, create_time=enums.timestamp(stored.created_at)
        )

    async def ListDisagreements(
        self, request: annotation_pb2.ListDisagreementsRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.ListDisagreementsResponse:
        return await self._io.run(self._disagreements, request)

    async def Adjudicate(
        self, request: annotation_pb2.AdjudicateRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.AdjudicateResponse:
        decided = await self._io.run(self._adjudicate, request, CALLER.get().name)
        return annotation_pb2.AdjudicateResponse(adjudication=adjudication_to_message(decided))

    async def WithdrawAdjudication(
        self, request: annotation_pb2.WithdrawAdjudicationRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.WithdrawAdjudicationResponse:
        pair = resource_names.identity(resource_names.COMPARISONS, request.comparison_id, "comparison_id")
        by = CALLER.get().name or request.withdrawn_by
        held = await self._io.run(self._store.adjudications.withdraw, pair, request.objective, by)
        return annotation_pb2.WithdrawAdjudicationResponse(adjudication=adjudication_to_message(held))

    async def ListAnswers(
        self, request: annotation_pb2.ListAnswersRequest, context: grpc.aio.ServicerContext
    ) -> annotation_pb2.ListAnswersResponse:
        return await self._io.run(self._answers, request)

    def _quality(self, request: annotation_pb2.GetQualityRequest) -> annotation_pb2.GetQualityResponse:
        run_id = run_id_of(self._store, request.run_id)
        names = [request.objective] if request.objective else self._constitutions.of_run(run_id).objective_names
        if request.objective:
            self._constitutions.check_objective(request.objective, run_id)
        standings = self._store.annotators.standings()
        rule = Rule(self._labelling.good, self._labelling.false_alarm)
        found = [
            objective_quality(
                name,
                self._measured(name, run_id),
                self._store.adjudications.find(name, run_id or None),
                standings,
                self._store.annotators.judged(name),
                rule,
            )
            for name in names
        ]
        return annotation_pb2.GetQualityResponse(objectives=map(quality_to_message, found))

    def _measured(self, objective: str, run_id: str) -> list[Answer]:
        """A run's answers, which may be a study's; without a run those of all but studies, as reward models learn."""
        given = self._store.annotators.answers(objective, run_id or None)
        studied = set[str]() if run_id else self._store.studies.among({answer.comparison_id for answer in given})
        return [answer for answer in given if answer.comparison_id not in studied]

    def _annotator(
        self, request: annotation_pb2.GetAnnotatorRequest, labeler: str
    ) -> annotation_pb2.GetAnnotatorResponse:
        constitution = self._constitutions.of_run(run_id_of(self._store, request.run_id))
        standing = self._store.annotators.standings().get(labeler, "by_rule")
        answer = annotation_pb2.GetAnnotatorResponse(labeler=labeler, standing=enums.number(enums.STANDINGS, standing))
        for name in constitution.objective_names:
            gold = [each for each in self._store.adjudications.find(name) if each.choice in SAID]
            answers = self._store.annotators.answers(name, labeler=labeler)
            state = calibration(gold, self._store.adjudications.first_at(name), answers, standing, self._labelling)
            answer.calibrations.add(
                objective=name, admitted=state.admitted, answered=state.answered, needed=state.needed
            )
        return answer

    def _disagreements(
        self, request: annotation_pb2.ListDisagreementsRequest
    ) -> annotation_pb2.ListDisagreementsResponse:
        if request.count < 0:
            raise InvalidInput(f"count: {request.count}; allowed: 0 to {MOST_SHOWN}", "count")
        run_id, objective = run_id_of(self._store, request.run_id), request.objective
        self._constitutions.check_objective(objective, run_id)
        kind = enums.value(enums.DISAGREEMENTS, request.kind, "kind")
        answers = self._store.annotators.answers(objective, run_id or None)
        found = disagreements(
            # Nobody decides on pairs of studies: what people say of them is their result.
            teaching(self._store, answers),
            self._store.adjudications.find(objective),
            self._store.annotators.judged(objective),
        )
        found = [each for each in found if kind in (None, each.kind)]
        first = found[: min(request.count or SHOWN, MOST_SHOWN)]
        pairs = self._store.comparisons.by_id([each.comparison_id for each in first])
        messages = [disagreement_to_message(each, pairs[each.comparison_id]) for each in first]
        return annotation_pb2.ListDisagreementsResponse(disagreements=messages, total=len(found))

    def _adjudicate(self, request: annotation_pb2.AdjudicateRequest, caller: str) -> Adjudication:
        """Store the decision once, or only try to."""

        def work() -> Adjudication:
            pair = resource_names.identity(resource_names.COMPARISONS, request.comparison_id, "comparison_id")
            self._constitutions.check_objective_of(request.objective, self._store.comparisons.get(pair))
            return self._store.adjudications.add(
                Adjudication(
                    comparison_id=pair,
                    objective=request.objective,
                    choice=enums.given(enums.CHOICES, request.choice, "choice"),
                    reason=request.reason,
                    adjudicated_by=caller or request.adjudicated_by,
                )
            )

        if request.validate_only:
            return tried(self._store, work)
        body = body_of(request, "request_id").hex()
        known = self._store.requests.once("Adjudicate", request.request_id, body, lambda: work().model_dump_json())
        return Adjudication.model_validate_json(known)

    def _answers(self, request: annotation_pb2.ListAnswersRequest) -> annotation_pb2.ListAnswersResponse:
        page = page_of(request, PAGE)
        run_id = run_id_of(self._store, request.run_id) or None
        labeler = human_labeler(request.labeler) if request.labeler else None
        found = self._store.annotators.answers(
            request.objective or None, run_id, labeler, after=page.after, size=page.size + 1
        )
        shown = found[: page.size]
        pairs = self._store.comparisons.by_id({answer.comparison_id for answer in shown})
        decided = {(each.comparison_id, each.objective): each for each in self._store.adjudications.find()}
        messages = []
        for each in shown:
            decision = decided.get((each.comparison_id, each.objective))
            messages.append(
                annotation_pb2.ListedAnswer(
                    answer=answer_to_message(each),
                    comparison=comparison_to_message(pairs[each.comparison_id]),
                    adjudication=adjudication_to_message(decision) if decision else None,
                )
            )
        return annotation_pb2.ListAnswersResponse(
            answers=field_masks.read(messages, request.read_mask, annotation_pb2.ListedAnswer),
            next_page_token=page.token(shown[-1].revision if len(found) > page.size else 0),
        )
