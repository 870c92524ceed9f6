"""Two runs side by side: is this one better than that one?"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from charter.v1 import trainer_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.comparison.records import Measure, RunComparison
from services.console.backend import Backend
from services.console.pages import Pages
from services.console.pairs import Piece, compared, visible

CHOICE = 200
"""Newest runs to choose from."""
REPLIES = 20


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
        trainer = self._backend.trainer
        shown = FieldMask(paths=["id", "short_id", "display_name", "create_time"])
        states = [trainer_pb2.RUN_STATE_SUCCEEDED]
        listing = trainer_pb2.ListRunsRequest(page_size=CHOICE, states=states, read_mask=shown)
        runs = (await self._backend.ask(request, trainer.ListRuns, listing)).runs
        found = None
        if a and b:
            asked = trainer_pb2.CompareRunsRequest(run_a=a, run_b=b)
            answer = await self._backend.ask(request, trainer.CompareRuns, asked)
            found = RunComparison.model_validate_json(answer.comparison_json)
        replies = await asyncio.to_thread(_marked, found) if found else []
        verdicts = [_verdict(measure) for measure in found.measures] if found else []
        given = {"runs": runs, "a": a, "b": b, "found": found, "verdicts": verdicts, "replies": replies}
        return await self._pages.page(request, "compare.html", **given)


def _marked(found: RunComparison) -> list[Replies]:
    """Not on the loop that answers all calls: long replies take a while."""
    return [
        Replies(visible(pair.prompt), *compared(visible(pair.a), visible(pair.b))) for pair in found.replies[:REPLIES]
    ]


def _verdict(measure: Measure) -> str:
    """What the interval of a difference says."""
    if measure.difference is None:
        return measure.note
    if measure.difference.low > 0:
        return "the second is higher"
    return "the second is lower" if measure.difference.high < 0 else "not told apart"
