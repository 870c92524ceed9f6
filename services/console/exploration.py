"""The rollout explorer: a run's samples found by what they are, and a page with all that is known of one."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlencode

from charter.v1 import critique_pb2, exploration_pb2, preference_pb2
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.vote_aggregation import sigmoid
from rlhf_core.records.feedback import Verdict
from services.console.backend import Backend
from services.console.pages import Pages
from services.console.pairs import Piece, compared, visible
from services.wire import enums
from services.wire.samples import comparison_from_message

PAGE = 25
CHOICES = ("stage", "policy_version", "objective", "principle_id")
NUMBERS = {"min_score": "score from", "max_score": "score to", "min_kl": "KL from", "max_kl": "KL to"}
"""Fields of the form that are numbers, and what the form calls them."""

_VERDICTS: dict[str, Verdict] = {verdict: verdict for verdict in enums.VERDICTS.values if verdict}


class Line(NamedTuple):
    """A line of a reply with each reward model's score of it, in the order of the scores."""

    text: str
    scores: tuple[float, ...]


class Step(NamedTuple):
    """A critique, with what differs between the reply before it and after."""

    message: Any
    verdict: str
    before: list[Piece]
    after: list[Piece]


class Side(NamedTuple):
    """A pair as the sample sees it: the other reply, and what judges and people preferred."""

    other: str
    other_id: str
    votes: list[tuple[str, str]]
    """Principle and order, and the probability that this sample is the better one."""
    labels: list[tuple[str, str, str]]
    """Objective, who, and what they said."""


class Exploration:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend, self._stub = pages, backend, backend.exploration

    def routes(self) -> list[Route]:
        return [Route("/runs/{run}/samples", self._list), Route("/runs/{run}/samples/{sample}", self._sample)]

    async def _list(self, request: Request) -> Response:
        run, given = request.path_params["run"], request.query_params
        query = {name: given.get(name, "").strip() for name in (*CHOICES, *NUMBERS, "verdict", "text")}
        asked = _question(run, query, given.get("page", ""))
        found = await self._backend.ask(request, self._stub.FindSamples, asked)
        listing = exploration_pb2.ListSampleTermsRequest(run_id=run)
        terms = (await self._backend.ask(request, self._stub.ListSampleTerms, listing)).terms
        kept = {name: text for name, text in query.items() if text}
        more = urlencode({**kept, "page": found.next_page_token}) if found.next_page_token else ""
        return await self._pages.page(
            request,
            "samples.html",
            run=run,
            found=found,
            query=query,
            asked=bool(kept),
            more=more,
            verdicts=list(_VERDICTS),
            choices=_choices(terms),
            ranges=_ranges(terms),
        )

    async def _sample(self, request: Request) -> Response:
        run, sample = request.path_params["run"], request.path_params["sample"]
        asked = exploration_pb2.GetSampleRequest(run_id=run, sample_id=sample)
        told = await self._backend.ask(request, self._stub.GetSample, asked)
        texts = [line for line in told.sample.response.splitlines() if line.strip()]
        scored = [score for score in told.scores if len(score.steps) == len(texts)]
        lines = [Line(visible(text), tuple(score.steps[i] for score in scored)) for i, text in enumerate(texts)]
        return await self._pages.page(
            request,
            "sample.html",
            run=run,
            told=told,
            lines=lines if scored else [],
            line_scores=[score.objective for score in scored],
            steps=[_step(step) for step in told.steps],
            sides=[_side(judged, sample) for judged in told.comparisons],
        )


def _question(run: str, query: dict[str, str], page: str) -> exploration_pb2.FindSamplesRequest:
    """Raises InvalidInput for what is no number, and no verdict."""
    asked = exploration_pb2.FindSamplesRequest(run_id=run, page_size=PAGE, page_token=page)
    for name in (*CHOICES, "text"):
        setattr(asked, name, query[name])
    for name, called in NUMBERS.items():
        if text := query[name]:
            try:
                setattr(asked, name, float(text))
            except ValueError:
                raise InvalidInput(f"{called}: '{text[:50]}' is no number", name) from None
    if given := query["verdict"]:
        verdict = _VERDICTS.get(given)
        if verdict is None:
            raise InvalidInput(f"verdict: '{given[:50]}' is none; allowed: {', '.join(_VERDICTS)}", "verdict")
        asked.verdict = enums.number(enums.VERDICTS, verdict)
    return asked


def _choices(terms: Any) -> dict[str, dict[str, str]]:
    """For each field the values that samples of the run have, with their counts."""
    fields = {"stage": "stage", "policy": "policy_version", "score": "objective", "verdict": "principle_id"}
    found: dict[str, dict[str, str]] = {name: {} for name in CHOICES}
    for term in terms:
        kind = enums.value(enums.TERMS, term.kind, "kind")
        if field := fields.get(kind or ""):
            told = "" if field == "principle_id" else f"{term.samples:,}{'' if term.exact else '+'}"
            found[field].setdefault(term.name, told)
    return found


def _ranges(terms: Any) -> dict[str, str]:
    """Between what the scores of each objective lie, and the KL."""
    return {
        term.name or "KL": f"{term.low:z.2f} to {term.high:z.2f}"
        for term in terms
        if term.HasField("low") and term.HasField("high")
    }


def _step(message: Any) -> Step:
    before, after = compared(visible(message.before), visible(message.after))
    return Step(message, enums.value(enums.VERDICTS, message.critique.verdict, "verdict") or "not read", before, after)


def _side(judged: exploration_pb2.JudgedComparison, sample: str) -> Side:
    comparison = comparison_from_message(judged.comparison)
    is_a = comparison.a.id == sample
    other = comparison.b if is_a else comparison.a
    several = len({(vote.judge, vote.template_hash) for vote in judged.votes}) > 1
    votes = [(_which(vote, is_a, several), _better(vote, is_a)) for vote in judged.votes]
    labels = [said for label in judged.preferences for said in _each(label, is_a)]
    return Side(visible(other.response), other.id, votes, labels)


def _which(vote: critique_pb2.Vote, is_a: bool, several: bool) -> str:
    """Which vote it is; where judges differ, also whose."""
    place = f"{vote.principle_id}, {'second' if vote.swapped == is_a else 'first'}"
    return f"{place}, {vote.judge} by {vote.protocol}" if several else place


def _each(label: preference_pb2.Preference, is_a: bool) -> list[tuple[str, str, str]]:
    """What a label says and, where a panel gave it, what each of its judges did."""
    opinions = [
        (
            label.objective,
            f"{one.judge}{'' if one.weight else ', left out'}",
            f"abstains: {one.reason}" if one.reason else f"{one.probability if is_a else 1 - one.probability:.2f}",
        )
        for one in label.opinions
    ]
    return [(label.objective, label.labeler, _said(label, is_a)), *opinions]


def _better(vote: critique_pb2.Vote, is_a: bool) -> str:
    """The probability that the judge gives to this sample; where two digits of it say nothing, its odds as well."""
    if vote.reason:
        return f"abstains: {vote.reason}"
    odds = vote.logprob_a - vote.logprob_b
    probability = f"{sigmoid(odds if is_a else -odds):.2f}"
    return probability if probability not in ("0.00", "1.00") else f"{probability}, by {abs(odds):.0f} nats"


def _said(label: preference_pb2.Preference, is_a: bool) -> str:
    choice = enums.value(enums.CHOICES, label.choice, "choice")
    if label.abstained or choice not in ("a", "b"):
        words = {"tie": "equal", "both_bad": "both are bad", "skip": "skipped"}
        return "abstains" if label.abstained else words.get(choice or "", "")
    better = "this one is better" if (choice == "a") == is_a else "the other one is better"
    return f"{better}, {label.probability if is_a else 1 - label.probability:.2f}"
