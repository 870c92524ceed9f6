"""The pages on which people say which of two replies is better, and what their script asks of the server.

The script works ahead: it has the next pairs before they are looked at, goes on at once, and sends what was decided
behind the labeler's back, each step with an id of its own, until the service has it. So nothing here keeps any state.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Annotated, Any, Literal, NamedTuple, TypeVar
from urllib.parse import quote

from charter.v1 import preference_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import AwareDatetime, Field, ValidationError
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.errors import Conflict, Forbidden, InvalidInput, NotFound, Unauthenticated
from rlhf_core.records.base import Record
from services.console.backend import NAME_COOKIE, Backend, person_of, set_cookie
from services.console.pages import JSON, Pages, form_of
from services.console.pairs import Pair, pair_of
from services.server.interceptors import invalid_input
from services.wire.stored_records import human_labeler

YEAR_SECONDS = 365 * 24 * 3600
LEASE_SECONDS = 600
"""Longer than a labeler takes for the pairs ahead; each look ahead begins it anew."""
CHOICES = {
    "left": preference_pb2.CHOICE_A,
    "right": preference_pb2.CHOICE_B,
    "tie": preference_pb2.CHOICE_TIE,
    "both_bad": preference_pb2.CHOICE_BOTH_BAD,
    "skip": preference_pb2.CHOICE_SKIP,
}
MIRRORED = {"left": "right", "right": "left"}

R = TypeVar("R", bound=Record)
Id = Annotated[str, Field(min_length=1, max_length=200)]


class Label(Record):
    """A decision: `left` and `right` are what the person saw."""

    kind: Literal["label"]
    id: Id
    comparison: Id
    objective: Id
    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    swapped: bool
    note: str = ""


class StepBack(Record):
    """Takes back this person's latest label on a comparison."""

    kind: Literal["undo"]
    id: Id
    comparison: Id
    objective: Id


Step = Annotated[Label | StepBack, Field(discriminator="kind")]


class Steps(Record):
    """What a labeler did, in order. Sent again, each step counts once."""

    labeler: str
    steps: tuple[Step, ...] = Field(max_length=100)


class Outcome(Record):
    done: tuple[str, ...]
    """Ids of the steps that are stored for good."""
    refused: dict[str, str]
    """Id -> why that step can never be stored."""


class Look(Record):
    """Asks what comes next."""

    objective: Id
    run: str = ""
    gate: bool = False
    """Only pairs whose labels decide on the judge's gate."""
    count: int = Field(ge=1, le=100)
    since: AwareDatetime
    """When the labeler's day began."""


class Ahead(Record):
    """What comes next for a labeler."""

    pairs: tuple[Pair, ...]
    remaining: int
    given: int
    """Since the beginning of the labeler's day, of all objectives."""


class Task(NamedTuple):
    """An objective, and how many pairs wait."""

    name: str
    description: str
    remaining: int


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
        ]

    async def _tasks(self, request: Request) -> Response:
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        labeler, constitution = person_of(request, visitor), await self._guidelines(request, run)
        tasks = []
        for objective in constitution.objectives:
            asked = preference_pb2.NextComparisonRequest(labeler=labeler, objective=objective.name, run_id=run)
            remaining = await self._remaining(request, asked) if visitor.may("label") else 0
            tasks.append(Task(objective.name, objective.description, remaining))
        return self._pages.page_for(visitor, request, "tasks.html", tasks=tasks, labeler=labeler, run=run)

    async def _remaining(self, request: Request, asked: preference_pb2.NextComparisonRequest) -> int:
        """How many pairs wait; none for somebody who is not let in, as the desk tells them."""
        try:
            return (await self._backend.ask(request, self._backend.preference.NextComparison, asked)).remaining
        except Forbidden:
            return 0

    async def _desk(self, request: Request) -> Response:
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        constitution, name = await self._guidelines(request, run), request.path_params["objective"]
        objective = next((each for each in constitution.objectives if each.name == name), None)
        if objective is None:
            known = ", ".join(each.name for each in constitution.objectives)
            raise NotFound(f"there is no objective '{name}' to label for; there are: {known}")
        principles = [principle for principle in constitution.principles if name in principle.serves]
        given = {"objective": objective, "principles": principles, "labeler": person_of(request, visitor), "run": run}
        gate = "gate" in request.query_params
        return self._pages.page_for(visitor, request, "desk.html", gate=gate, **given)

    async def _look_ahead(self, request: Request) -> Response:
        """The pairs that come next, held for this labeler."""
        visitor, look = await self._backend.visitor(request), await _read(Look, request)
        since = Timestamp()
        since.FromDatetime(look.since)
        asked = preference_pb2.NextComparisonRequest(
            labeler=person_of(request, visitor),
            objective=look.objective,
            run_id=look.run,
            uniform=look.gate,
            count=look.count,
            lease=Duration(seconds=LEASE_SECONDS),
            since=since,
        )
        answer = await self._backend.ask(request, self._backend.preference.NextComparison, asked)
        pairs = await asyncio.to_thread(lambda: tuple(pair_of(shown) for shown in answer.shown))
        return _json(Ahead(pairs=pairs, remaining=answer.remaining, given=answer.given))

    async def _take(self, request: Request) -> Response:
        """Store what a labeler did, one step after the other."""
        labeler = person_of(request, await self._backend.visitor(request))
        given = await _read(Steps, request)
        if given.labeler != labeler:
            raise Conflict(f"these labels are of {given.labeler}, and {labeler} is signed in now")
        done, refused = [], {}
        for step in given.steps:
            try:
                await self._carry_out(request, labeler, step)
                done.append(step.id)
            except (Unauthenticated, Forbidden):
                raise
            except (InvalidInput, NotFound, Conflict) as error:
                refused[step.id] = str(error)
        return _json(Outcome(done=tuple(done), refused=refused))

    async def _carry_out(self, request: Request, labeler: str, step: Label | StepBack) -> None:
        if isinstance(step, StepBack):
            undo = preference_pb2.UndoPreferenceRequest(
                labeler=labeler, comparison_id=step.comparison, objective=step.objective, request_id=step.id
            )
            await self._backend.ask(request, self._backend.preference.UndoPreference, undo)
            return
        submit = preference_pb2.SubmitPreferenceRequest(
            comparison_id=step.comparison,
            objective=step.objective,
            labeler=labeler,
            choice=CHOICES[MIRRORED.get(step.choice, step.choice) if step.swapped else step.choice],
            reason=step.note,
            request_id=step.id,
            swapped=step.swapped,
        )
        await self._backend.ask(request, self._backend.preference.SubmitPreference, submit)

    async def _guidelines(self, request: Request, run: str) -> Any:
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


def _json(record: Record) -> Response:
    return Response(record.model_dump_json(), media_type=JSON)
