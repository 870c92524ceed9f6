"""Preference studies: what each declared, how far it is, and what people prefer once that may be told."""

from __future__ import annotations

from typing import NamedTuple

from charter.v1 import study_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.errors import Conflict, Forbidden
from rlhf_core.records.studies import Duel, StudyResults
from services.console.backend import Backend
from services.console.pages import Pages
from services.wire.studies import results_from_message, study_from_message

PAGE = 50
WIDTH, HEIGHT, EDGE = 240, 28, 6
"""Of the picture of a win rate, in its own units; `EDGE` is left free on both sides."""


class Bar(NamedTuple):
    """Where a win rate, its bounds and a half lie in its picture."""

    low: float
    value: float
    high: float
    half: float


class Studies:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend, self._stub = pages, backend, backend.study

    def routes(self) -> list[Route]:
        return [Route("/studies", self._list), Route("/studies/{study}", self._page)]

    async def _list(self, request: Request) -> Response:
        asked = study_pb2.ListStudiesRequest(page_size=PAGE, page_token=request.query_params.get("page", ""))
        found = await self._backend.ask(request, self._stub.ListStudies, asked)
        studies = [(each.create_time, study_from_message(each)) for each in found.studies]
        given = {"studies": studies, "more": found.next_page_token}
        return await self._pages.page(request, "studies.html", **given)

    async def _page(self, request: Request) -> Response:
        asked = study_pb2.GetStudyRequest(study_id=request.path_params["study"])
        message = (await self._backend.ask(request, self._stub.GetStudy, asked)).study
        study = study_from_message(message)
        results, why_none = None, ""
        if study.questions:
            results, why_none = await self._results(request, study.id)
        return await self._pages.page(
            request,
            "study.html",
            study=study,
            created=message.create_time,
            results=results,
            bars=[[_bar(duel) for duel in one.duels] for one in results.questions] if results else [],
            why_none=why_none,
            size=(WIDTH, HEIGHT),
        )

    async def _results(self, request: Request, study_id: str) -> tuple[StudyResults | None, str]:
        """The results, or why there are none for this visitor yet."""
        try:
            asked = study_pb2.GetStudyResultsRequest(study_id=study_id)
            return results_from_message(await self._backend.ask(request, self._stub.GetStudyResults, asked)), ""
        except Conflict:
            return None, "It is of a fixed size: what people prefer is told once every pair has its labels."
        except Forbidden:
            return None, "While people are asked, those who may label do not see who leads."


def _bar(duel: Duel) -> Bar:
    def place(share: float) -> float:
        return round(EDGE + (WIDTH - 2 * EDGE) * share, 1)

    rate = duel.win_rate
    low, high = (rate.value if bound is None else bound for bound in (rate.low, rate.high))
    return Bar(place(low), place(rate.value), place(high), place(0.5))
