"""The constitution: what it says, and its text with every mistake as it is typed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import NamedTuple

from charter.v1 import critique_pb2, preference_pb2
from markupsafe import Markup, escape
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from rlhf_core.constitution.diff import Change, ConstitutionDiff
from rlhf_core.effects.report import EffectReport
from rlhf_core.errors import CharterError, InvalidInput
from rlhf_core.records.base import Record
from services.console.backend import Backend
from services.console.pages import JSON, Pages, form_of
from services.console.pairs import visible
from services.wire.constitutions import diff_from_message

CRITIQUE = "critique"
DIFF = "constitution_diff.html"
PAIRS = 100
"""That the judge labels unless somebody says otherwise."""
STEP = 0.1
"""Share of the work after which it is told how far it is."""
LATER = Markup("<!-- what comes later -->")
"""Where in a page that goes on what comes is put."""


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
            Route("/constitution/diff", self._diff, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        """Of a run, or the server's default; its text only where the server can check one."""
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        guidelines = preference_pb2.GetGuidelinesRequest(run_id=run)
        found = (await self._backend.ask(request, self._backend.preference.GetGuidelines, guidelines)).constitution
        before, text = found.hash if run else "", ""
        if CRITIQUE in visitor.services:
            asked = critique_pb2.GetConstitutionRequest(constitution=before)
            text = (await self._backend.ask(request, self._backend.critique.GetConstitution, asked)).yaml_text
        given = {"constitution": found, "text": text, "run": run, "before": before, "pairs": PAIRS}
        return self._pages.page_for(visitor, request, "constitution.html", **given)

    async def _check(self, request: Request) -> Response:
        text = (await request.body()).decode(errors="replace")
        asked = critique_pb2.CheckConstitutionRequest(yaml_text=text, source="constitution.yaml")
        answer = await self._backend.ask(request, self._backend.critique.CheckConstitution, asked)
        problems = [Problem(each.line, each.column, each.code, each.message, each.hint) for each in answer.problems]
        checked = Checked(problems=tuple(problems), summary=_summary(answer))
        return Response(checked.model_dump_json(), media_type=JSON)

    async def _diff(self, request: Request) -> Response:
        """What an edited text changes and costs; and, where that is asked for, what it does to labels."""
        visitor, form = await self._backend.visitor(request), await form_of(request)
        # Browsers send every line end as two signs.
        text, pairs, effects = form.get("text", "").replace("\r\n", "\n"), form.get("pairs", ""), "effects" in form
        asked = critique_pb2.DiffConstitutionsRequest(
            before=critique_pb2.ConstitutionSource(constitution=form.get("before", "")),
            after=critique_pb2.ConstitutionSource(yaml_text=text, name="the edit"),
            effects=effects,
            pairs=int(pairs) if pairs.isdecimal() and len(pairs) < 6 else PAIRS,
        )
        given = {"text": text, "before": form.get("before", ""), "pairs": asked.pairs, "effects": effects}
        updates = self._backend.stream(request, self._backend.critique.DiffConstitutions, asked)
        try:
            diff, bill = diff_from_message((await anext(updates)).diff)
        except InvalidInput as error:  # the text must not be lost with the page
            given |= {"wrong": str(error), "diff": None}
            return self._pages.page_for(visitor, request, DIFF, HTTPStatus.BAD_REQUEST, **given)
        given |= {"wrong": "", "diff": diff, "bill": bill, "rows": _rows(diff), "later": LATER}
        page = self._pages.page_for(visitor, request, DIFF, **given)
        return StreamingResponse(self._with_effects(bytes(page.body).decode(), updates), media_type="text/html")

    async def _with_effects(
        self, page: str, updates: AsyncIterator[critique_pb2.DiffConstitutionsResponse]
    ) -> AsyncIterator[str]:
        """The page, and in its place what comes as the judge goes on: a page without a script can show that too."""
        before, _, rest = page.partition(LATER)
        yield before
        told = 0.0
        try:
            async for update in updates:
                if update.WhichOneof("event") == "progress":
                    share = update.progress.done / max(1, update.progress.total)
                    if share < told or share >= told + STEP:
                        told = share
                        yield f"<p class='soft'>{escape(update.progress.phase)}: {share:.0%}</p>"
                elif update.effects_json:
                    report = EffectReport.model_validate_json(update.effects_json)
                    yield self._pages.part("effects.html", report=report)
        except CharterError as error:
            yield f"<p class='wrong'>{escape(visible(str(error)))}</p>"
        yield rest


def _rows(diff: ConstitutionDiff) -> list[tuple[str, Change]]:
    """One for each difference but those of words."""
    rows = [("added", Change(what=name, before=None, after=None)) for name in diff.added]
    rows += [("removed", Change(what=name, before=None, after=None)) for name in diff.removed]
    for kind in ("renamed", "reweighted", "moved", "rescoped", "objectives", "defaults"):
        told = {"objectives": "default weight", "defaults": "default"}.get(kind, kind)
        rows += [(told, change) for change in getattr(diff, kind)]
    return rows


def _summary(answer: critique_pb2.CheckConstitutionResponse) -> str:
    if not answer.HasField("constitution"):
        return ""
    read = answer.constitution
    objectives = ", ".join(objective.name for objective in read.objectives)
    return f"{read.id} {read.version}: {len(read.principles)} principles for {objectives}"
