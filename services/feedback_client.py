"""The client of the critic and the judge: the core's seam over the wire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property

from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.constitution.schema import Principle
from rlhf_core.records import Comparison, Critique, Sample, Usage, Vote
from services import convert
from services.batches import in_order
from services.channel import Connection


class FeedbackClient:
    """seams.Feedback over the wire. Calls end with Unavailable once their caller is `gone`."""

    def __init__(self, connection: Connection, constitution: str, gone: Callable[[], bool] | None = None):
        self._connection = connection
        self._gone = gone
        self._constitution = constitution
        self._stub = critique_pb2_grpc.CritiqueServiceStub(connection.channel)
        self.usage = Usage()

    @property
    def name(self) -> str:
        """The model that judges, with its revision."""
        return self._judge.judge

    @property
    def critic_name(self) -> str:
        return self._judge.critic

    @property
    def template_hash(self) -> str:
        return self._judge.template_hash

    @cached_property
    def _judge(self) -> critique_pb2.GetJudgeResponse:
        request = critique_pb2.GetJudgeRequest(constitution=self._constitution)
        return self._connection.call(self._stub.GetJudge, request)

    def critique(self, samples: Sequence[Sample], principle: Principle) -> list[Critique]:
        messages = [convert.sample_to_message(sample) for sample in samples]
        critiques: list[Critique] = []
        for places in in_order(messages):
            request = critique_pb2.CritiqueRequest(samples=messages[places], principle=self._ref(principle))
            answer = self._connection.call(self._stub.Critique, request, self._gone)
            critiques += convert.critiques_from_messages(answer.critiques)
            self._spend(answer.usage)
        return critiques

    def revise(self, samples: Sequence[Sample], critiques: Sequence[Critique], principle: Principle) -> list[str]:
        messages = [convert.sample_to_message(sample) for sample in samples]
        asked = [convert.critique_to_message(critique) for critique in critiques]
        revisions: list[str] = []
        for places in in_order(messages):
            request = critique_pb2.ReviseRequest(
                samples=messages[places], critiques=asked[places], principle=self._ref(principle)
            )
            answer = self._connection.call(self._stub.Revise, request, self._gone)
            revisions += answer.revisions
            self._spend(answer.usage)
        return revisions

    def compare(self, comparisons: Sequence[Comparison], *principles: Principle) -> list[Vote]:
        """For each comparison, and for each principle on it, two votes: one in each order."""
        refs = [self._ref(principle) for principle in principles]
        messages = [convert.comparison_to_message(comparison) for comparison in comparisons]
        votes: list[Vote] = []
        for places in in_order(messages):
            request = critique_pb2.CompareRequest(comparisons=messages[places], principles=refs)
            answer = self._connection.call(self._stub.Compare, request, self._gone)
            votes += [convert.vote_from_message(message) for message in answer.votes]
            self._spend(answer.usage)
        return votes

    def _spend(self, message: critique_pb2.Usage) -> None:
        self.usage = self.usage.plus(convert.usage_from_message(message))

    def _ref(self, principle: Principle) -> critique_pb2.PrincipleRef:
        return critique_pb2.PrincipleRef(constitution=self._constitution, principle_id=principle.id)
