"""How good people's labels are, and the inbox of what a reviewer decides."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import NamedTuple
from urllib.parse import quote, urlencode
from uuid import uuid4

from charter.v1 import annotation_pb2, preference_pb2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.annotation.records import ObjectiveQuality, Window
from rlhf_core.errors import InvalidInput
from rlhf_core.records.annotation import Agreement, Answer
from rlhf_core.seeding import is_swapped
from services.console.backend import Backend, person_of
from services.console.pages import Pages, form_of
from services.console.pairs import Pair, pair_of
from services.wire import enums
from services.wire.annotation import answer_from_message, quality_from_message

WIDTH, HEIGHT = 240, 60
"""Of the picture of a trend."""
FEW_ITEMS = 20
"""Pairs that several answered, below which an alpha of any height, and its interval, may be chance."""
LOWEST = -0.2
"""Alpha at its bottom; what lies lower is drawn there. The top is 1."""
CHOICES = {
    "left": preference_pb2.CHOICE_A,
    "right": preference_pb2.CHOICE_B,
    "tie": preference_pb2.CHOICE_TIE,
    "both_bad": preference_pb2.CHOICE_BOTH_BAD,
    "aside": preference_pb2.CHOICE_SKIP,
}
MIRRORED = {"left": "right", "right": "left"}
SAID = {"a": "A is better", "b": "B is better", "tie": "equal", "both_bad": "both bad", "skip": "nobody can say"}


class Section(NamedTuple):
    """One objective on the page."""

    quality: ObjectiveQuality
    words: str
    """What its alpha says."""
    trend: Trend | None
    disagreements: int


class Trend(NamedTuple):
    """Alpha over time as the points of an SVG picture."""

    line: str
    band: str
    """Around it, between the ends of the intervals."""
    words: str


class Said(NamedTuple):
    """Somebody's answer as the page shows it, A being what stands left there."""

    who: str
    what: str
    note: str


class Quality:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend = pages, backend

    def routes(self) -> list[Route]:
        return [
            Route("/quality", self._page),
            Route("/quality", self._change, methods=["POST"]),
            Route("/quality/{objective}", self._inbox),
            Route("/quality/{objective}", self._decide, methods=["POST"]),
        ]

    async def _page(self, request: Request) -> Response:
        """Everybody's, for who may review; for others only how far they are themselves."""
        visitor, run = await self._backend.visitor(request), request.query_params.get("run", "")
        if not visitor.may("review"):
            asked = annotation_pb2.GetAnnotatorRequest(labeler=person_of(request, visitor), run_id=run)
            own = await self._backend.ask(request, self._backend.annotation.GetAnnotator, asked)
            standing = enums.value(enums.STANDINGS, own.standing, "standing")
            return self._pages.page_for(visitor, request, "calibration.html", own=own, standing=standing)
        asked = annotation_pb2.GetQualityRequest(run_id=run)
        answer = await self._backend.ask(request, self._backend.annotation.GetQuality, asked)
        sections = []
        for message in answer.objectives:
            listing = annotation_pb2.ListDisagreementsRequest(objective=message.objective, run_id=run, count=1)
            inbox = await self._backend.ask(request, self._backend.annotation.ListDisagreements, listing)
            quality = quality_from_message(message)
            sections.append(Section(quality, words_of(quality.ordinal), trend_of(quality.trend), inbox.total))
        own = person_of(request, visitor)
        return self._pages.page_for(visitor, request, "quality.html", sections=sections, run=run, own=own)

    async def _change(self, request: Request) -> Response:
        """Let somebody in, or shut them out."""
        form, visitor = await form_of(request), await self._backend.visitor(request)
        standings = {"admitted", "paused", "by_rule"}
        standing = form.get("standing", "")
        if standing not in standings:
            raise InvalidInput(f"standing: '{standing}' is none; allowed: {', '.join(sorted(standings))}", "standing")
        change = annotation_pb2.SetAnnotatorRequest(
            labeler=form.get("labeler", ""),
            standing=f"STANDING_{standing.upper()}",
            reason=form.get("reason", "").strip(),
            changed_by=person_of(request, visitor),
        )
        await self._backend.ask(request, self._backend.annotation.SetAnnotator, change)
        return RedirectResponse("/quality", HTTPStatus.SEE_OTHER)

    async def _inbox(self, request: Request) -> Response:
        """The pair that comes next, of those that are not put off until later."""
        visitor, query = await self._backend.visitor(request), request.query_params
        objective, run, later = request.path_params["objective"], query.get("run", ""), _number(query.get("later", "0"))
        listing = annotation_pb2.ListDisagreementsRequest(objective=objective, run_id=run, count=later + 1)
        found = await self._backend.ask(request, self._backend.annotation.ListDisagreements, listing)
        first = found.disagreements[later] if later < len(found.disagreements) else None
        pair = said = None
        if first:
            swapped = is_swapped(person_of(request, visitor), first.comparison.id)
            pair = pair_of(preference_pb2.ShownComparison(comparison=first.comparison, swapped=swapped))
            said = [_said(answer_from_message(answer), pair) for answer in first.answers]
        return self._pages.page_for(
            visitor,
            request,
            "decide.html",
            objective=objective,
            run=run,
            found=first,
            kind=enums.value(enums.DISAGREEMENTS, first.kind, "kind") if first else "",
            pair=pair,
            said=said,
            decided=_side(first.adjudication.choice, pair) if first and pair and first.HasField("adjudication") else "",
            left=max(0, found.total - later),
            later=later,
            last=query.get("last", ""),
            request_id=uuid4().hex,
        )

    async def _decide(self, request: Request) -> Response:
        form, visitor = await form_of(request), await self._backend.visitor(request)
        objective, by = request.path_params["objective"], person_of(request, visitor)
        choice, comparison = form.get("choice", ""), form.get("comparison", "")
        kept = {name: form[name] for name in ("run", "later") if form.get(name)}
        if choice == "withdraw":
            back = annotation_pb2.WithdrawAdjudicationRequest(
                comparison_id=comparison, objective=objective, withdrawn_by=by
            )
            await self._backend.ask(request, self._backend.annotation.WithdrawAdjudication, back)
        elif choice in CHOICES:
            decision = annotation_pb2.AdjudicateRequest(
                comparison_id=comparison,
                objective=objective,
                choice=CHOICES[MIRRORED.get(choice, choice) if form.get("swapped") else choice],
                reason=form.get("reason", "").strip(),
                adjudicated_by=by,
                request_id=form.get("request_id", ""),
            )
            await self._backend.ask(request, self._backend.annotation.Adjudicate, decision)
            kept["last"] = comparison
        else:
            raise InvalidInput(f"choice: '{choice}' is none; allowed: {', '.join((*CHOICES, 'withdraw'))}", "choice")
        return RedirectResponse(f"/quality/{quote(objective)}?{urlencode(kept)}", HTTPStatus.SEE_OTHER)


def words_of(found: Agreement) -> str:
    """Say what an alpha means, by the customary bounds (Krippendorff 2004)."""
    if found.value is None:
        return found.undefined
    if found.items < FEW_ITEMS:
        pairs = "1 pair says" if found.items == 1 else f"{found.items} pairs say"
        return f"{pairs} too little: wait for {FEW_ITEMS}"
    if found.value >= 0.8:
        return "people agree well"
    return "people agree well enough for tentative conclusions" if found.value >= 0.667 else "people agree too little"


def trend_of(windows: Sequence[Window]) -> Trend | None:
    """Draw alpha over time; None where there are no two stretches in which it is defined."""
    known = [window for window in windows if window.agreement.value is not None]
    if len(known) < 2:
        return None
    places = [WIDTH * place / (len(known) - 1) for place in range(len(known))]
    values = [window.agreement.value or 0.0 for window in known]
    ends = [(w.agreement.low, w.agreement.high) for w in known]
    lows = [value if low is None else low for value, (low, _) in zip(values, ends, strict=True)]
    highs = [value if high is None else high for value, (_, high) in zip(values, ends, strict=True)]
    band = _points(places, highs) + _points(places, lows)[::-1]
    words = ", ".join(f"{value:z.2f}" for value in values)
    return Trend(
        " ".join(_points(places, values)), " ".join(band), f"{known[0].begin[:10]} to {known[-1].end[:10]}: {words}"
    )


def _points(places: Sequence[float], values: Sequence[float]) -> list[str]:
    heights = [HEIGHT * (1 - (max(value, LOWEST) - LOWEST) / (1 - LOWEST)) for value in values]
    return [f"{x:.1f},{y:.1f}" for x, y in zip(places, heights, strict=True)]


def _said(answer: Answer, pair: Pair) -> Said:
    choice = enums.number(enums.CHOICES, answer.choice)
    return Said(answer.labeler.removeprefix("human:"), _side(choice, pair), answer.reason)


def _side(choice: int, pair: Pair) -> str:
    """A choice in the words of what stands on the page."""
    said = enums.given(enums.CHOICES, choice, "choice")
    return SAID[{"a": "b", "b": "a"}.get(said, said) if pair.swapped else said]


def _number(text: str) -> int:
    if text.isdecimal() and len(text) < 3:
        return int(text)
    raise InvalidInput(f"later: '{text}'; allowed: 0 to 99", "later")
