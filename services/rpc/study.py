"""StudyService: preference studies, declared before anybody is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import get_args

import grpc
from charter.v1 import study_pb2, study_pb2_grpc

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NoWorker, suggestion
from rlhf_core.policies.resolve import speaking
from rlhf_core.records.runs import Run
from rlhf_core.records.studies import QuestionProgress, RatingProgress, Study, StudyForm, StudyPlan, StudyState
from rlhf_core.store.store import Store
from rlhf_core.studies.results import study_results
from services.rpc.policy_aliases import reference
from services.rpc.run_changes import tried
from services.rpc.run_requests import Asked, RunDesk
from services.security.callers import CALLER
from services.security.scopes import GRANTS
from services.serving.executor import Executor
from services.wire import field_masks, resource_names
from services.wire.paging import body_of, page_of
from services.wire.studies import plan_from_message, results_to_message, study_to_message

PAGE = 50
KIND = "study"
FORMS: tuple[StudyForm, ...] = get_args(StudyForm)
MAX_POLICIES, MAX_NAME = 8, 80


class StudyService(study_pb2_grpc.StudyServiceServicer):
    def __init__(self, store: Store, desk: RunDesk, io: Executor, carried_out: Callable[[], bool]):
        """`carried_out` says whether anybody would take a run from the queue."""
        self._store, self._desk, self._io, self._carried_out = store, desk, io, carried_out

    async def CreateStudy(
        self, request: study_pb2.CreateStudyRequest, context: grpc.aio.ServicerContext
    ) -> study_pb2.CreateStudyResponse:
        return study_pb2.CreateStudyResponse(study=study_to_message(await self._io.run(self._create, request)))

    async def GetStudy(
        self, request: study_pb2.GetStudyRequest, context: grpc.aio.ServicerContext
    ) -> study_pb2.GetStudyResponse:
        return study_pb2.GetStudyResponse(study=study_to_message(await self._io.run(self._get, request.study_id)))

    async def ListStudies(
        self, request: study_pb2.ListStudiesRequest, context: grpc.aio.ServicerContext
    ) -> study_pb2.ListStudiesResponse:
        page = page_of(request, PAGE)
        ids, last = await self._io.run(self._store.studies.page, page.size, page.after)
        studies = await self._io.run(lambda: [study_to_message(self._get(identity)) for identity in ids])
        shown = field_masks.read(studies, request.read_mask, study_pb2.Study)
        return study_pb2.ListStudiesResponse(studies=shown, next_page_token=page.token(last))

    async def CloseStudy(
        self, request: study_pb2.CloseStudyRequest, context: grpc.aio.ServicerContext
    ) -> study_pb2.CloseStudyResponse:
        return study_pb2.CloseStudyResponse(study=study_to_message(await self._io.run(self._close, request)))

    async def GetStudyResults(
        self, request: study_pb2.GetStudyResultsRequest, context: grpc.aio.ServicerContext
    ) -> study_pb2.GetStudyResultsResponse:
        is_trainer = any("train" in GRANTS[scope] for scope in CALLER.get().scopes)
        return await self._io.run(self._results, request.study_id, is_trainer)

    def _create(self, request: study_pb2.CreateStudyRequest) -> Study:
        body = body_of(request, "request_id", "validate_only").hex()
        known = self._store.requests.answered("CreateStudy", request.request_id, body)
        if known is not None and not request.validate_only:
            return self._get(known)
        if len(request.display_name) > MAX_NAME:
            told = f"display_name: {len(request.display_name)} characters; allowed: {MAX_NAME}"
            raise InvalidInput(told, "display_name")
        if not request.display_name.replace(" ", "").isprintable():
            raise InvalidInput("display_name: has characters that cannot be printed", "display_name")
        asked = self._desk.check(_config(request).model_dump_json(exclude_unset=True), "")
        plan = self._plan(request.plan, asked)
        if not self._carried_out():
            raise NoWorker(
                "no process carries out the runs of this server's store, so the replies would never be written",
                hint="start a server of this store with all services, or give its trainer the endpoints of the others",
            )
        if request.validate_only:
            return tried(self._store, lambda: self._get(self._store_study(asked, plan, request)))
        identity = self._store.requests.once(
            "CreateStudy", request.request_id, body, lambda: self._store_study(asked, plan, request)
        )
        return self._get(identity)

    def _store_study(self, asked: Asked, plan: StudyPlan, request: study_pb2.CreateStudyRequest) -> str:
        with self._store.transaction():
            run = self._desk.queue(asked, request.request_id, {}, request.display_name)
            self._store.studies.add(run.id, plan)
        return run.id

    def _plan(self, message: study_pb2.StudyPlan, asked: Asked) -> StudyPlan:
        """The plan with whole ids of versions, and the objectives that it asks about by name."""
        if not 2 <= len(message.policies) <= MAX_POLICIES:
            told = f"plan.policies: {len(message.policies)} of them; allowed: 2 to {MAX_POLICIES}"
            raise InvalidInput(told, "plan.policies")
        policies = [speaking(self._store, reference(given)).version for given in message.policies]
        if len(set(policies)) < len(policies):
            twice = next(one for one in policies if policies.count(one) > 1)
            told = f"plan.policies: '{twice}' is meant twice; allowed: different policies"
            raise InvalidInput(told, "plan.policies")
        names = parse_constitution(asked.text, asked.constitution_id).objective_names
        for name in message.objectives:
            if name not in names:
                told = f"plan.objectives: unknown objective '{name}'; {suggestion(name, names)}"
                raise InvalidInput(told, "plan.objectives")
        whole = study_pb2.StudyPlan()
        whole.CopyFrom(message)
        whole.policies[:] = policies
        whole.objectives[:] = list(dict.fromkeys(message.objectives)) or names
        return plan_from_message(whole)

    def _get(self, given: str) -> Study:
        run, plan = self._found(given)
        questions = []
        for question in self._store.studies.questions(run.id):
            pairs, done = self._store.studies.progress(question)
            closed = question.model_dump(include={"objective", "closed_because", "closed_at"})
            questions.append(QuestionProgress(pairs=pairs, done=done, **closed))
        ratings = []
        for question in self._store.studies.questions(run.id, "ratings"):
            replies, done = self._store.study_ratings.progress(question)
            closed = question.model_dump(include={"objective", "closed_because", "closed_at"})
            ratings.append(RatingProgress(replies=replies, done=done, **closed))
        config = RunConfig.stored(run.config)
        return Study(
            id=run.id,
            display_name=run.display_name,
            plan=plan,
            state=_state(run, [*questions, *ratings]),
            questions=tuple(questions),
            rating_questions=tuple(ratings),
            prompts=config.data.prompts or "",
            seed=config.seed,
            constitution_hash=run.constitution_hash,
            error=run.error,
            created_at=run.created_at,
        )

    def _close(self, request: study_pb2.CloseStudyRequest) -> Study:
        run, _ = self._found(request.study_id)
        if not self._store.studies.questions(run.id):
            told = f"study '{run.id}' asks nobody yet, as its replies are not written"
            raise Conflict(told, hint=f"to end it before that: charter cancel {run.id}")

        def work() -> Study:
            with self._store.transaction():
                self._store.studies.hold()
                for question in [one for form in FORMS for one in self._store.studies.questions(run.id, form)]:
                    if not question.closed_because:
                        self._store.studies.close(question.model_copy(update={"closed_because": "by hand"}))
            return self._get(run.id)

        return tried(self._store, work) if request.validate_only else work()

    def _results(self, given: str, is_trainer: bool) -> study_pb2.GetStudyResultsResponse:
        run, plan = self._found(given)
        study = self._get(run.id)
        if study.state != "closed":
            if plan.stopping == "fixed":
                left = ", ".join(_how_far(study)) or "none yet"
                raise Conflict(
                    f"study '{run.id}' is of a fixed size and still open ({left}), so it has no results yet",
                    hint=f"charter study close {run.id} ends it early, and its results say so",
                )
            if not is_trainer:
                raise Forbidden(
                    f"study '{run.id}' is still open: until it is closed, results are for the scope train",
                    "token",
                    hint="labelers who know who leads are not blind",
                )
        return results_to_message(study_results(self._store, run.id), study)

    def _found(self, given: str) -> tuple[Run, StudyPlan]:
        """The study's run and plan. Raises InvalidInput where none is named, NotFound."""
        identity = resource_names.identity(resource_names.STUDIES, given, "study_id")
        if not identity:
            raise InvalidInput("study_id: not given; say which study", "study_id")
        run = self._store.runs.find(resource_names.identity(resource_names.RUNS, identity, "study_id"))
        return run, self._store.studies.get(run.id)


def _config(request: study_pb2.CreateStudyRequest) -> RunConfig:
    """The run that draws the replies."""
    given = {"kind": KIND, "seed": request.seed, "constitution": request.constitution or None}
    return RunConfig.model_validate(given | ({"data": {"prompts": request.prompts}} if request.prompts else {}))


def _how_far(study: Study) -> list[str]:
    """What has been answered of each question."""
    pairs = [f"{one.objective} {one.done} of {one.pairs}" for one in study.questions]
    return pairs + [f"{one.objective} rated {one.done} of {one.replies}" for one in study.rating_questions]


def _state(run: Run, questions: Sequence[QuestionProgress | RatingProgress]) -> StudyState:
    if questions:
        return "closed" if all(question.closed_because for question in questions) else "open"
    return "failed" if run.state in ("SUCCEEDED", "FAILED", "CANCELLED") else "drawing"
