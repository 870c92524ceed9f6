"""The constitution: what it says, and its text with every mistake as it is typed."""

from __future__ import annotations

from typing import NamedTuple

from charter.v1 import critique_pb2, preference_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.records.base import Record
from services.console.backend import Backend
from services.console.pages import JSON, Pages

CRITIQUE = "critique"


class Problem(NamedTuple):
    """Where a text is wrong, what is wrong, and what to do."""

    line: int
    column: int
    code: str
    message: str
    hint: str


class Checked(Record):
    problems: tuple[Problem, ...]
    summary: str
    """What the text says, where it can be read at all."""


class Constitution:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [
            Route("/constitution", self._page),
            Route("/constitution/check", self._check, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        """Of a run, or the server's default; its text only where the server can check one."""
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        guidelines = preference_pb2.GetGuidelinesRequest(run_id=run)
        found = (await self._backend.ask(request, self._backend.preference.GetGuidelines, guidelines)).constitution
        text = ""
        if CRITIQUE in visitor.services:
            asked = critique_pb2.GetConstitutionRequest(constitution=found.hash if run else "")
            text = (await self._backend.ask(request, self._backend.critique.GetConstitution, asked)).yaml_text
        given = {"constitution": found, "text": text, "run": run}
        return self._pages.page_for(visitor, request, "constitution.html", **given)

    async def _check(self, request: Request) -> Response:
        text = (await request.body()).decode(errors="replace")
        asked = critique_pb2.CheckConstitutionRequest(yaml_text=text, source="constitution.yaml")
        answer = await self._backend.ask(request, self._backend.critique.CheckConstitution, asked)
        problems = [Problem(each.line, each.column, each.code, each.message, each.hint) for each in answer.problems]
        checked = Checked(problems=tuple(problems), summary=_summary(answer))
        return Response(checked.model_dump_json(), media_type=JSON)


def _summary(answer: critique_pb2.CheckConstitutionResponse) -> str:
    if not answer.HasField("constitution"):
        return ""
    read = answer.constitution
    objectives = ", ".join(objective.name for objective in read.objectives)
    return f"{read.id} {read.version}: {len(read.principles)} principles for {objectives}"
