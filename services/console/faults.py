"""The faults that people marked in replies: where, under which principle, and by whom."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from charter.v1 import assessment_pb2, common_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.console.backend import Backend
from services.console.pages import Pages
from services.console.pairs import Turn, turns_of, visible
from services.wire import enums
from services.wire.samples import sample_from_message

PAGE = 30


class Stretch(NamedTuple):
    """A part of a reply over which the same faults are marked."""

    text: str
    numbers: tuple[int, ...]
    """Of the faults, from 1; none where the reply is faultless."""
    ends: tuple[int, ...]
    """Of those faults that end here."""


class Found(NamedTuple):
    """A reply, and what somebody found in it."""

    turns: tuple[Turn, ...]
    stretches: list[Stretch]
    faults: list[tuple[str, str]]
    """Each fault's principle and its words."""
    objective: str
    labeler: str
    note: str
    when: Timestamp


class Faults:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [Route("/faults", self._page)]

    async def _page(self, request: Request) -> Response:
        query = request.query_params
        run, objective = query.get("run", ""), query.get("objective", "")
        asked = assessment_pb2.ListAssessmentsRequest(
            form=enums.number(enums.FORMS, "spans"),
            objective=objective,
            run_id=run,
            page_size=PAGE,
            page_token=query.get("page", ""),
            with_samples=True,
        )
        answer = await self._backend.ask(request, self._backend.assessment.ListAssessments, asked)
        samples = {sample.id: sample for sample in answer.samples}
        found = [_found(one, samples[one.item_id]) for one in answer.assessments if not one.skip]
        given = {"found": found, "more": answer.next_page_token, "run": run, "objective": objective}
        return await self._pages.page(request, "faults.html", **given)


def _found(one: assessment_pb2.Assessment, message: common_pb2.Sample) -> Found:
    sample, spans = sample_from_message(message), one.faults.spans
    return Found(
        turns=turns_of(sample.prompt),
        stretches=stretches(sample.response, [(span.start, span.end) for span in spans]),
        faults=[(span.principle_id, visible(span.text)) for span in spans],
        objective=one.objective,
        labeler=one.labeler.removeprefix("human:"),
        note=one.reason,
        when=one.create_time,
    )


def stretches(text: str, spans: Sequence[tuple[int, int]]) -> list[Stretch]:
    """Cut the whole text wherever a fault begins or ends; faults may overlap."""
    cuts = sorted({0, len(text), *(place for span in spans for place in span)})
    return [
        Stretch(
            visible(text[start:end]),
            tuple(number for number, (a, b) in enumerate(spans, 1) if a <= start and end <= b),
            tuple(number for number, (_, b) in enumerate(spans, 1) if b == end),
        )
        for start, end in pairwise(cuts)
    ]
