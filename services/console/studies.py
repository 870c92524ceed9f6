"""Studies: what each declared, how far it is, and what people prefer and how they rate once that may be told."""

from __future__ import annotations

from typing import NamedTuple

from charter.v1 import study_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.errors import Conflict, Forbidden
from rlhf_core.records.assessments import HIGHEST, LOWEST
from rlhf_core.records.studies import Duel, Interval, RatingResult, StudyResults
from rlhf_core.studies import words
from services.console.backend import Backend
from services.console.pages import Pages
from services.wire.studies import results_from_message, study_from_message

PAGE = 50
WIDTH, HEIGHT, EDGE = 240, 28, 6
"""Of the picture of a win rate, in its own units; `EDGE` is left free on both sides."""


class Bar(NamedTuple):
    """Where a win rate or a mean rating, its bounds and the middle of its scale lie in its picture."""

    low: float
    value: float
    high: float
    middle: float


class RatedPolicy(NamedTuple):
    """One policy's ratings as they are drawn."""

    policy: str
    replies: int
    mean: Interval
    bar: Bar
    shares: tuple[float, ...]
    """Of each grade among all of its ratings."""


class Rated(NamedTuple):
    """The ratings for one objective, with what they say in words."""

    result: RatingResult
    how_far: str
    policies: tuple[RatedPolicy, ...]
    verdicts: tuple[str, ...]
    agreement: str


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
            results, why_none = await self._results(request, study.id, bool(study.rating_questions))
        return await self._pages.page(
            request,
            "study.html",
            study=study,
            created=message.create_time,
            results=results,
            bars=[[_bar(duel) for duel in one.duels] for one in results.questions] if results else [],
            rated=[_rated(one) for one in results.ratings] if results else [],
            rating={one.objective: one for one in study.rating_questions},
            scale=range(LOWEST, HIGHEST + 1),
            why_none=why_none,
            size=(WIDTH, HEIGHT),
        )

    async def _results(self, request: Request, study_id: str, has_ratings: bool) -> tuple[StudyResults | None, str]:
        """The results, or why there are none for this visitor yet."""
        try:
            asked = study_pb2.GetStudyResultsRequest(study_id=study_id)
            return results_from_message(await self._backend.ask(request, self._stub.GetStudyResults, asked)), ""
        except Conflict:
            told = "It is of a fixed size: what people prefer is told once every pair has its labels"
            return None, f"{told}, and every reply its ratings." if has_ratings else f"{told}."
        except Forbidden:
            return None, "While people are asked, those who may label do not see who leads."


def _bar(duel: Duel) -> Bar:
    return _placed(duel.win_rate, 0, 1)


def _placed(found: Interval, least: float, most: float) -> Bar:
    """Where a number and its bounds lie on a scale."""

    def place(value: float) -> float:
        share = (value - least) / (most - least)
        return round(EDGE + (WIDTH - 2 * EDGE) * share, 1)

    low, high = (found.value if bound is None else bound for bound in (found.low, found.high))
    return Bar(place(low), place(found.value), place(high), place((least + most) / 2))


def _rated(result: RatingResult) -> Rated:
    policies = [
        RatedPolicy(
            one.policy,
            one.replies,
            one.mean,
            _placed(one.mean, LOWEST, HIGHEST),
            tuple(count / sum(one.grades) for count in one.grades),
        )
        for one in result.policies
        if one.mean
    ]
    verdicts = tuple(words.verdict(found) for found in result.differences)
    agreement = words.agreement(result.agreement) if result.agreement else ""
    return Rated(result, words.how_far(result), tuple(policies), verdicts, agreement)
