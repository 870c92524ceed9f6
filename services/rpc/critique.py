"""CritiqueService: samples and principles in, critiques, revisions and votes out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from functools import reduce
from typing import Any, TypeVar

import grpc
from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.constitution.load import examine_text
from rlhf_core.errors import InvalidInput
from rlhf_core.feedback.vote_aggregation import sigmoid
from rlhf_core.records.feedback import Usage, Vote
from services.rpc.constitution_edits import ConstitutionDesk
from services.rpc.constitutions import Constitutions
from services.rpc.revise_stream import RevisionDesk
from services.serving.executor import Executor
from services.serving.model_queue import ModelQueue
from services.wire.constitutions import problems_to_messages, status_to_message
from services.wire.samples import (
    comparisons_from_messages,
    constitution_to_message,
    critique_to_message,
    critiques_from_messages,
    samples_from_messages,
    usage_to_message,
    vote_to_message,
)

T = TypeVar("T")


class CritiqueService(critique_pb2_grpc.CritiqueServiceServicer):
    def __init__(self, models: ModelQueue, constitutions: Constitutions, desk: ConstitutionDesk, io: Executor):
        self._models = models
        self._constitutions = constitutions
        self._desk = desk
        self._io = io
        self._revisions = RevisionDesk(models, constitutions, io)

    async def Critique(
        self, request: critique_pb2.CritiqueRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.CritiqueResponse:
        samples = samples_from_messages(request.samples)
        critiques, usage = await self._models.critique(samples, *await self._principle(request.principle))
        messages = [critique_to_message(critique) for critique in critiques]
        return critique_pb2.CritiqueResponse(critiques=messages, usage=usage_to_message(usage))

    async def Revise(
        self, request: critique_pb2.ReviseRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.ReviseResponse:
        samples = samples_from_messages(request.samples)
        critiques = critiques_from_messages(request.critiques)
        if critiques and len(critiques) != len(samples):
            raise InvalidInput(f"critiques: {len(critiques)} for {len(samples)} samples; give one each", "critiques")
        constitution, principle = await self._principle(request.principle)
        before = Usage()
        if not critiques:
            critiques, before = await self._models.critique(samples, constitution, principle)
        revisions, usage = await self._models.revise(samples, critiques, constitution, principle)
        return critique_pb2.ReviseResponse(
            revisions=revisions,
            critiques=[critique_to_message(critique) for critique in critiques],
            usage=usage_to_message(before.plus(usage)),
        )

    async def ReviseStream(
        self, request: critique_pb2.ReviseStreamRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[critique_pb2.ReviseStreamResponse]:
        async for answer in self._revisions.revise(request):
            yield answer

    async def Compare(
        self, request: critique_pb2.CompareRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.CompareResponse:
        comparisons = comparisons_from_messages(request.comparisons)
        principles = [await self._principle(ref) for ref in request.principles]
        if not principles:
            raise InvalidInput("principles is empty; name at least one principle to judge by", "principles")
        if len({constitution.hash for constitution, _ in principles}) > 1:
            raise InvalidInput("principles are of several constitutions; name those of one", "principles")
        constitution, asked = principles[0][0], [principle for _, principle in principles]
        seats, panel = self._seats(request.judge), self._models.panel
        answers = await at_once([self._models.compare(comparisons, constitution, asked, seat) for seat in seats])
        usage = usage_to_message(reduce(Usage.plus, (usage for _, usage in answers)))
        weights = [panel[seat].weight if panel else 1.0 for seat in seats]
        judgements = together([votes for votes, _ in answers], weights)
        told = [[vote_to_message(vote) for vote in votes] for votes, _ in answers]
        if len(seats) == 1:
            return critique_pb2.CompareResponse(votes=told[0], judgements=judgements, usage=usage)
        each = [
            critique_pb2.PanelVotes(judge=self._judge(constitution, seat), votes=votes, usage=usage_to_message(own))
            for seat, votes, (_, own) in zip(seats, told, answers, strict=True)
        ]
        return critique_pb2.CompareResponse(judgements=judgements, usage=usage, panel=each)

    async def GetJudge(
        self, request: critique_pb2.GetJudgeRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.GetJudgeResponse:
        constitution, _ = await self._io.run(self._constitutions.find, request.constitution)
        feedback = self._models.feedback(constitution)
        return critique_pb2.GetJudgeResponse(
            judge=feedback.name,
            critic=feedback.critic_name,
            protocol=feedback.protocol,
            template_hash=feedback.template_hash,
            panel=[self._judge(constitution, seat) for seat in range(len(self._models.panel))],
        )

    async def GetConstitution(
        self, request: critique_pb2.GetConstitutionRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.GetConstitutionResponse:
        constitution, text = await self._io.run(self._constitutions.find, request.constitution)
        message = constitution_to_message(constitution)
        return critique_pb2.GetConstitutionResponse(constitution=message, yaml_text=text)

    async def CheckConstitution(
        self, request: critique_pb2.CheckConstitutionRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.CheckConstitutionResponse:
        return await self._io.run(check_constitution, request.yaml_text, request.source or "constitution.yaml")

    async def GetConstitutionStatus(
        self, request: critique_pb2.GetConstitutionStatusRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.GetConstitutionStatusResponse:
        return status_to_message(await self._io.run(self._constitutions.status))

    async def DiffConstitutions(
        self, request: critique_pb2.DiffConstitutionsRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[critique_pb2.DiffConstitutionsResponse]:
        async for update in self._desk.diff(request):
            yield update

    async def TestConstitution(
        self, request: critique_pb2.TestConstitutionRequest, context: grpc.aio.ServicerContext
    ) -> critique_pb2.TestConstitutionResponse:
        return await self._desk.test(request)

    def _seats(self, judge: str) -> Sequence[int]:
        """Whom of the panel to ask; the one judge where there is none. Raises InvalidInput for a name that none has."""
        names = [one.name for one in self._models.panel]
        if not judge:
            return range(max(1, len(names)))
        if judge not in names:
            allowed = ", ".join([*names, "or empty"])
            raise InvalidInput(f"judge: '{judge}' is none of the judges of a panel here; allowed: {allowed}", "judge")
        return [names.index(judge)]

    def _judge(self, constitution: Constitution, seat: int) -> critique_pb2.PanelJudge:
        feedback, one = self._models.feedback(constitution, seat), self._models.panel[seat]
        return critique_pb2.PanelJudge(
            name=one.name,
            judge=feedback.name,
            protocol=feedback.protocol,
            template_hash=feedback.template_hash,
            weight=one.weight,
        )

    async def _principle(self, ref: critique_pb2.PrincipleRef) -> tuple[Constitution, Principle]:
        return await self._io.run(self._constitutions.principle, ref.constitution, ref.principle_id)


def check_constitution(text: str, source: str) -> critique_pb2.CheckConstitutionResponse:
    """Check a constitution; mistakes are the answer here, not an error."""
    constitution, problems = examine_text(text, source)
    return critique_pb2.CheckConstitutionResponse(
        problems=problems_to_messages(problems),
        constitution=None if constitution is None else constitution_to_message(constitution),
    )


async def at_once(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all calls at once; where one fails the others are given up, as nobody waits for their answers."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def together(each: Sequence[Sequence[Vote]], weights: Sequence[float]) -> list[critique_pb2.Judgement]:
    """Say what judges say together of each pair and principle, whose two votes stand at the same places of each.

    In each order it is the mean of the log-odds of those whose votes can be read, by weight; even where none can.
    """
    if len(each) == 1:
        return [judgement(first, second) for first, second in zip(each[0][::2], each[0][1::2], strict=True)]
    return [
        _pooled(same, weights) for same in zip(*(zip(own[::2], own[1::2], strict=True) for own in each), strict=True)
    ]


def _pooled(same: Sequence[tuple[Vote, Vote]], weights: Sequence[float]) -> critique_pb2.Judgement:
    read = [(both, weight) for both, weight in zip(same, weights, strict=True) if all(v.label_mass > 0 for v in both)]
    total = sum(weight for _, weight in read)
    odds = [
        sum(weight * (both[order].logprob_a - both[order].logprob_b) for both, weight in read) / total if read else 0.0
        for order in range(2)
    ]
    return critique_pb2.Judgement(
        comparison_id=same[0][0].comparison_id,
        probability=sigmoid(sum(odds) / 2),
        gap=abs(sigmoid(odds[0]) - sigmoid(odds[1])),
    )


def judgement(first: Vote, second: Vote) -> critique_pb2.Judgement:
    """Say what the two orders say together: the mean of their log-odds, as labels use it, and how far they differ."""
    odds = [vote.logprob_a - vote.logprob_b for vote in (first, second)]
    return critique_pb2.Judgement(
        comparison_id=first.comparison_id,
        probability=sigmoid(sum(odds) / 2),
        gap=abs(sigmoid(odds[0]) - sigmoid(odds[1])),
    )
