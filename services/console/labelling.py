"""The desks at which people label, and what their scripts ask of the server: pairs, ratings, rankings, marked faults.

A script works ahead: it has the next items before they are looked at, goes on at once, and sends what was decided
behind the labeler's back, each step with an id of its own, until the service has it. So nothing here keeps any state.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, TypeVar, get_args
from urllib.parse import quote

from charter.v1 import assessment_pb2, preference_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AwareDatetime, Field, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated, suggestion
from rlhf_core.records.assessments import HIGHEST, LOWEST
from rlhf_core.records.base import Record
from services.console.backend import NAME_COOKIE, Backend, person_of, set_cookie
from services.console.labelling_steps import FORMS, DeskForm, Steps, carry_out
from services.console.pages import JSON, Pages, form_of
from services.console.pairs import Pair, pair_of
from services.console.replies import Passage, Replies, Reply, item_of
from services.wire import enums
from services.wire.refusals import invalid_input
from services.wire.stored_records import human_labeler

YEAR_SECONDS = 365 * 24 * 3600
LEASE_SECONDS = 600
"""Longer than a labeler takes for the items ahead; each look ahead begins it anew."""
DESKS: tuple[DeskForm, ...] = get_args(DeskForm)
SCALE = tuple(range(LOWEST, HIGHEST + 1))

R = TypeVar("R", bound=Record)


class Outcome(Record):
    done: tuple[str, ...]
    """Ids of the steps that are stored for good."""
    refused: dict[str, str]
    """Id -> why that step can never be stored."""


class Look(Record):
    """Asks what comes next."""

    form: DeskForm
    objective: str = Field(min_length=1, max_length=200)
    run: str = ""
    gate: bool = False
    """Only pairs whose labels decide on the judge's gate."""
    count: int = Field(ge=1, le=100)
    since: AwareDatetime
    """When the labeler's day began."""


class Ahead(Record):
    """What comes next for a labeler."""

    items: tuple[Pair | Reply | Replies | Passage, ...]
    remaining: int
    given: int
    """Since the beginning of the labeler's day, of all forms and objectives."""


class Task(NamedTuple):
    """An objective, and how many items wait at each desk, by its form."""

    name: str
    description: str
    remaining: dict[str, int]


class Labelling:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [
            Route("/label", self._tasks),
            Route("/label/name", _rename, methods=["POST"]),
            Route("/label/next", self._look_ahead, methods=["POST"]),
            Route("/label/steps", self._take, methods=["POST"]),
            Route("/label/{objective}", self._desk),
            Route("/label/{objective}/{form}", self._desk),
            Route("/guidelines", self._guidelines),
        ]

    async def _tasks(self, request: Request) -> Response:
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        labeler, constitution = person_of(request, visitor), await self._constitution(request, run)
        tasks = []
        for objective in constitution.objectives:
            remaining: dict[str, int] = {}
            for form in DESKS if visitor.may("label") else ():
                look = Look(form=form, objective=objective.name, run=run, count=1, since=_day_ago())
                remaining[form] = await self._remaining(request, labeler, look)
            tasks.append(Task(objective.name, objective.description, remaining))
        given = await self._progress(request, labeler, _day_ago())
        shown = {"tasks": tasks, "given": given, "labeler": labeler, "run": run}
        return self._pages.page_for(visitor, request, "tasks.html", **shown)

    async def _remaining(self, request: Request, labeler: str, look: Look) -> int:
        """How many items wait at a desk; none for somebody who is not let in, as the desk tells them."""
        try:
            return (await self._next(request, labeler, look, 0)).remaining
        except Forbidden:
            return 0

    async def _desk(self, request: Request) -> Response:
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        constitution, name = await self._constitution(request, run), request.path_params["objective"]
        form = request.path_params.get("form", "pairs")
        objective = next((each for each in constitution.objectives if each.name == name), None)
        if objective is None:
            known = ", ".join(each.name for each in constitution.objectives)
            raise NotFound(f"there is no objective '{name}' to label for; there are: {known}")
        if form not in DESKS:
            raise NotFound(f"there is no desk for '{form}'; {suggestion(form, DESKS)}")
        principles = [principle for principle in constitution.principles if name in principle.serves]
        given = {"objective": objective, "principles": principles, "labeler": person_of(request, visitor), "run": run}
        given |= {"form": form, "scale": SCALE, "gate": "gate" in request.query_params}
        return self._pages.page_for(visitor, request, "desk.html", **given)

    async def _guidelines(self, request: Request) -> Response:
        """What labelers go by: the constitution's words, and how each desk is worked."""
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        constitution = await self._constitution(request, run)
        given = {"constitution": constitution, "run": run, "scale": SCALE}
        return self._pages.page_for(visitor, request, "guidelines.html", **given)

    async def _look_ahead(self, request: Request) -> Response:
        """The items that come next, held for this labeler."""
        visitor, look = await self._backend.visitor(request), await _read(Look, request)
        labeler, form = person_of(request, visitor), look.form
        answer = await self._next(request, labeler, look, LEASE_SECONDS)
        given = await self._progress(request, labeler, look.since)
        if isinstance(answer, preference_pb2.NextComparisonResponse):
            items = await asyncio.to_thread(lambda: tuple(pair_of(shown) for shown in answer.shown))
        else:
            items = tuple(item_of(form, item) for item in answer.items)
        total = given.pairs + given.ratings + given.rankings + given.spans
        return _json(Ahead(items=items, remaining=answer.remaining, given=total))

    async def _next(
        self, request: Request, labeler: str, look: Look, lease_seconds: int
    ) -> preference_pb2.NextComparisonResponse | assessment_pb2.NextAssessmentResponse:
        """What comes next at a desk, held for the labeler where a lease is asked for."""
        asked: dict[str, Any] = {
            "labeler": labeler,
            "objective": look.objective,
            "run_id": look.run,
            "count": look.count,
        }
        asked |= {"lease": Duration(seconds=lease_seconds)} if lease_seconds else {}
        if look.form == "pairs":
            pairs = preference_pb2.NextComparisonRequest(uniform=look.gate, **asked)
            return await self._backend.ask(request, self._backend.preference.NextComparison, pairs)
        form = enums.number(enums.FORMS, FORMS[look.form])
        replies = assessment_pb2.NextAssessmentRequest(form=form, **asked)
        return await self._backend.ask(request, self._backend.assessment.NextAssessment, replies)

    async def _progress(self, request: Request, labeler: str, since: datetime) -> assessment_pb2.GetProgressResponse:
        stamp = Timestamp()
        try:
            stamp.FromDatetime(since)
        except (ValueError, OverflowError):
            raise InvalidInput(f"since: {since} is no day of any labeler", "since") from None
        asked = assessment_pb2.GetProgressRequest(labeler=labeler, since=stamp)
        return await self._backend.ask(request, self._backend.assessment.GetProgress, asked)

    async def _take(self, request: Request) -> Response:
        """Store what a labeler did, one step after the other."""
        labeler = person_of(request, await self._backend.visitor(request))
        given = await _read(Steps, request)
        if given.labeler != labeler:
            raise Conflict(f"these labels are of {given.labeler}, and {labeler} is signed in now")
        done, refused = [], {}
        for step in given.steps:
            try:
                await carry_out(self._backend, request, labeler, step)
                done.append(step.id)
            except (Unauthenticated, Forbidden):
                raise
            except (InvalidInput, NotFound, Conflict) as error:
                refused[step.id] = str(error)
        return _json(Outcome(done=tuple(done), refused=refused))

    async def _constitution(self, request: Request, run: str) -> Any:
        asked = preference_pb2.GetGuidelinesRequest(run_id=run)
        return (await self._backend.ask(request, self._backend.preference.GetGuidelines, asked)).constitution


async def _rename(request: Request) -> Response:
    name = human_labeler((await form_of(request)).get("name", "").strip()).removeprefix("human:")
    response = RedirectResponse("/label", HTTPStatus.SEE_OTHER)
    set_cookie(request, response, NAME_COOKIE, quote(name), YEAR_SECONDS)
    return response


async def _read(kind: type[R], request: Request) -> R:
    """What a script sent. Raises InvalidInput naming what is wrong with it."""
    try:
        return kind.model_validate_json(await request.body())
    except ValidationError as error:
        raise invalid_input(error) from None


def _day_ago() -> datetime:
    return datetime.now(UTC) - timedelta(days=1)


def _json(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type=JSON)
