"""Two runs side by side: is this one better than that one?"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import NamedTuple

from charter.v1 import policy_pb2, trainer_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.comparison.records import Measure, RunComparison
from rlhf_core.comparison.words import basis, headline, part_words, side_of
from rlhf_core.errors import InvalidInput, NotFound
from services.console.backend import Backend
from services.console.pages import Pages
from services.console.pairs import Piece, compared, visible
from services.console.production import in_production
from services.http.errors import told_of
from services.wire.policies import policy_from_message

CHOICE = 200
"""Newest runs to choose from."""
REPLIES = 20
JUDGED = ("gold ", "score ")
"""Begin the names of measures of which more is better."""


class Replies(NamedTuple):
    """What both policies say to one prompt, with what differs."""

    prompt: str
    a: list[Piece]
    b: list[Piece]


class Comparison:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [Route("/compare", self._page)]

    async def _page(self, request: Request) -> Response:
        a, b = (request.query_params.get(name, "") for name in "ab")
        shown = FieldMask(paths=["id", "short_id", "display_name", "create_time"])
        states = [trainer_pb2.RUN_STATE_SUCCEEDED]
        listing = trainer_pb2.ListRunsRequest(page_size=CHOICE, states=states, read_mask=shown)
        runs = (await self._backend.ask(request, self._backend.trainer.ListRuns, listing)).runs
        production = await in_production(self._backend, request)
        if not a and production and production.run != b:
            a = production.run
        b = b or await self._newest(request, {run.id for run in runs} - {a})
        found, problem, status = None, "", HTTPStatus.OK
        try:
            found = await self._compared(request, a, b) if a and b else None
        except (InvalidInput, NotFound) as error:
            problem, status = str(error), told_of(error).response.status_code
        return await self._pages.page(
            request,
            "compare.html",
            status,
            runs=runs,
            a=a,
            b=b,
            production=production,
            found=found,
            problem=problem,
            headline=headline(found) if found else "",
            parts=[part_words(part) for part in found.verdict.parts] if found and found.verdict else [],
            basis=basis(found.verdict) if found and found.verdict else "",
            verdicts=[_verdict(measure) for measure in found.measures] if found else [],
            replies=await asyncio.to_thread(_marked, found) if found else [],
        )

    async def _compared(self, request: Request, a: str, b: str) -> RunComparison:
        if a == b:
            raise InvalidInput("Before and after are the same run. Choose another one for one of them.", "b")
        asked = trainer_pb2.CompareRunsRequest(run_a=a, run_b=b)
        answer = await self._backend.ask(request, self._backend.trainer.CompareRuns, asked)
        return RunComparison.model_validate_json(answer.comparison_json)

    async def _newest(self, request: Request, runs: set[str]) -> str:
        """The one of these runs that made the newest policy; empty where none of them made one of late."""
        asked = policy_pb2.ListPoliciesRequest(page_size=CHOICE)
        listed = (await self._backend.ask(request, self._backend.policy.ListPolicies, asked)).policies
        versions = [policy_from_message(message).version for message in listed]
        return next((one.run_id for one in versions if one.run_id in runs and not one.is_control), "")


def _marked(found: RunComparison) -> list[Replies]:
    """Not on the loop that answers all calls: long replies take a while."""
    return [
        Replies(visible(pair.prompt), *compared(visible(pair.a), visible(pair.b))) for pair in found.replies[:REPLIES]
    ]


def _verdict(measure: Measure) -> str:
    """What the interval of a difference says: of words and refusals nobody knows whether more is better."""
    difference = measure.difference
    if difference is None:
        return measure.note
    told = side_of(difference)
    if measure.name.startswith(JUDGED):
        return told
    return {"better": "higher after", "worse": "lower after"}.get(told, told)
