"""Runs: the list, and a page for each on which it is followed as it happens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from charter.v1 import preference_pb2, trainer_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from rlhf_core.errors import CharterError, Forbidden, InvalidInput, NotFound
from rlhf_core.evaluation.report.record import Report
from rlhf_core.records.base import STAGE_TITLES, STAGES
from rlhf_core.records.runs import Run
from services.console.backend import Backend, person_of
from services.console.pages import Pages, form_of
from services.console.production import in_production
from services.wire import enums
from services.wire.paging import LAST_PLACE
from services.wire.stored_records import run_from_message

PAGE = 50
HEARTBEAT = Duration(seconds=5)
SHOWN = FieldMask(
    paths=["id", "short_id", "display_name", "status", "stage", "step", "steps", "create_time", "tags", "note"]
)
"""Of the list: without the configurations, which are long."""
ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Runs:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend
        trainer = backend.trainer
        self._verbs = {
            "pause": (trainer.PauseRun, trainer_pb2.PauseRunRequest),
            "resume": (trainer.ResumeRun, trainer_pb2.ResumeRunRequest),
            "cancel": (trainer.CancelRun, trainer_pb2.CancelRunRequest),
        }

    def routes(self) -> list[Route]:
        return [
            Route("/runs", self._list),
            Route("/runs/{run}", self._page),
            Route("/runs/{run}", self._change, methods=["POST"]),
            Route("/runs/{run}/events", self._events),
        ]

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        state, tag = query.get("state", ""), query.get("tag", "").strip()
        if state and state not in enums.STATES.values:
            known = ", ".join(filter(None, enums.STATES.values))
            raise InvalidInput(f"state: '{state}' is none; allowed: {known}", "state")
        asked = trainer_pb2.ListRunsRequest(
            page_size=PAGE,
            page_token=query.get("page", ""),
            states=[enums.number(enums.STATES, state)] if state else [],
            tags=[tag] if tag else [],
            read_mask=SHOWN,
        )
        answer = await self._backend.ask(request, self._backend.trainer.ListRuns, asked)
        states = [each for each in enums.STATES.values if each]
        given: dict[str, Any] = {"state": state, "tag": tag, "states": states, "more": answer.next_page_token}
        given |= {"runs": answer.runs, "statuses": _statuses(answer.runs)}
        given |= {"production": await in_production(self._backend, request)}
        return await self._pages.page(request, "runs.html", **given)

    async def _page(self, request: Request) -> Response:
        message = await self._run(request)
        run = run_from_message(message)
        config = json.loads(run.config) if run.config else {}
        stages = _stages(config) if run.kind == "pipeline" else (run.kind,)
        visitor = await self._backend.visitor(request)
        labels = visitor.may("label") and "preference" in visitor.services
        return self._pages.page_for(
            visitor,
            request,
            "run.html",
            labels=labels and await self._pairs_wait(request, person_of(request, visitor), run.id),
            run=run,
            created=message.create_time,
            weights=config.get("weights") or {},
            constitution=config.get("constitution") or "",
            stages=[(stage, STAGE_TITLES.get(stage, stage)) for stage in stages],
            ended=run.state in ENDED,
            report=await self._report(request, run),
            production=await in_production(self._backend, request),
            request_id=uuid4().hex,
        )

    async def _pairs_wait(self, request: Request, labeler: str, run: str) -> bool:
        """Whether any pair of a run waits for a labeler; who is not let in shall be led to the desk, which says so."""
        preference = self._backend.preference
        try:
            guidelines = preference_pb2.GetGuidelinesRequest(run_id=run)
            objectives = (
                await self._backend.ask(request, preference.GetGuidelines, guidelines)
            ).constitution.objectives
            for name in [objective.name for objective in objectives]:
                asked = preference_pb2.NextComparisonRequest(labeler=labeler, objective=name, run_id=run, count=1)
                if (await self._backend.ask(request, preference.NextComparison, asked)).remaining:
                    return True
        except Forbidden:
            return True
        except NotFound:  # the constitution is not stored, and so nobody can label by it
            return False
        return False

    async def _change(self, request: Request) -> Response:
        """Pause, resume or end a run, or write a note on it."""
        run, form = await self._run(request), await form_of(request)
        verb, request_id = form.get("verb", ""), form.get("request_id", "")
        if verb == "note":
            if changed := _changed(form):
                mask, now = FieldMask(paths=list(changed)), trainer_pb2.Run(id=run.id)
                for name, text in changed.items():
                    setattr(now, name, text)
                asked = trainer_pb2.UpdateRunRequest(run=now, update_mask=mask, request_id=request_id)
                await self._backend.ask(request, self._backend.trainer.UpdateRun, asked)
        elif verb in self._verbs:
            method, kind = self._verbs[verb]
            await self._backend.ask(request, method, kind(run_id=run.id, request_id=request_id))
        else:
            raise InvalidInput(f"verb: '{verb}' is none; allowed: note, {', '.join(self._verbs)}", "verb")
        return RedirectResponse(f"/runs/{run.id}", HTTPStatus.SEE_OTHER)

    async def _events(self, request: Request) -> Response:
        """What happened, then what happens, as server-sent events; who lost the line goes on after the last one."""
        run = await self._run(request)
        last = request.headers.get("last-event-id") or request.query_params.get("after", "")
        asked = trainer_pb2.WatchRunRequest(
            run_id=run.id,
            after_sequence=min(int(last[:20]), LAST_PLACE) if last.isdecimal() else 0,
            heartbeat_interval=HEARTBEAT,
            through_pauses=True,
        )
        return StreamingResponse(self._watched(request, asked), media_type="text/event-stream")

    async def _watched(self, request: Request, asked: trainer_pb2.WatchRunRequest) -> AsyncIterator[str]:
        try:
            async for answer in self._backend.stream(request, self._backend.trainer.WatchRun, asked):
                if answer.HasField("event"):
                    event = answer.event
                    yield _event(event.kind, json.loads(event.body_json), event.sequence)
                    if event.kind == "state":  # an old one may be: what holds now is another question
                        yield _standing(await self._run(request))
                else:
                    yield _standing(answer.run)
            yield _event("end", {})
        except CharterError:
            return  # the browser comes back with its last event, and hears what is wrong

    async def _run(self, request: Request) -> trainer_pb2.Run:
        asked = trainer_pb2.GetRunRequest(run_id=request.path_params["run"])
        return (await self._backend.ask(request, self._backend.trainer.GetRun, asked)).run

    async def _report(self, request: Request, run: Run) -> Report | None:
        if run.state not in ENDED:
            return None
        try:
            asked = trainer_pb2.GetReportRequest(run_id=run.id)
            found = await self._backend.ask(request, self._backend.trainer.GetReport, asked)
            return Report.model_validate_json(found.report_json)
        except (NotFound, ValueError):  # none, or one of a Charter that wrote others
            return None


def _stages(config: dict[str, Any]) -> list[str]:
    """The stages of a pipeline, without the control where the run's settings leave it out."""
    has_control = config.get("ppo", {}).get("control_steps") != 0
    return [stage for stage in STAGES if stage != "control" or has_control]


def _changed(form: dict[str, str]) -> dict[str, str]:
    """What was typed and is not as the page showed it: what somebody else has written meanwhile stays."""
    # Browsers send every line end as two signs.
    text = {name: value.replace("\r\n", "\n") for name, value in form.items()}
    written = [name for name in ("note", "display_name") if name in text]
    return {name: text[name] for name in written if text[name] != text.get(f"old_{name}")}


def _statuses(runs: Any) -> list[str]:
    return [enums.value(enums.STATUSES, run.status, "status") or "" for run in runs]


def _standing(message: trainer_pb2.Run) -> str:
    run = run_from_message(message)
    told = {"status": run.status, "stage": run.stage, "step": run.step, "steps": run.steps}
    return _event("run", told | {"step_seconds": run.step_seconds})


def _event(kind: str, body: object, sequence: int | None = None) -> str:
    """JSON has no line breaks of its own, so that one line of data is enough."""
    place = "" if sequence is None else f"id: {sequence}\n"
    return f"{place}event: {kind}\ndata: {json.dumps(body)}\n\n"
