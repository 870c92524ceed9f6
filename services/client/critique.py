"""The clients of CritiqueService: the critic and the judge, revisions, and the texts of constitutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.validation.problems import Problem
from rlhf_core.records.feedback import Critique, Usage, Vote
from rlhf_core.records.samples import Comparison, Sample
from services.client.connection import Connection
from services.wire.batches import in_order
from services.wire.constitutions import problems_from_messages
from services.wire.revisions import RevisionsEnd, RevisionStep, from_answer
from services.wire.samples import (
    comparison_to_message,
    critique_to_message,
    critiques_from_messages,
    sample_to_message,
    usage_from_message,
    vote_from_message,
)


class FeedbackClient:
    """interfaces.Feedback over the wire. Calls end with Unavailable once their caller is `gone`."""

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
        messages = [sample_to_message(sample) for sample in samples]
        critiques: list[Critique] = []
        for places in in_order(messages):
            request = critique_pb2.CritiqueRequest(samples=messages[places], principle=self._ref(principle))
            answer = self._connection.call(self._stub.Critique, request, self._gone)
            critiques += critiques_from_messages(answer.critiques)
            self._spend(answer.usage)
        return critiques

    def revise(self, samples: Sequence[Sample], critiques: Sequence[Critique], principle: Principle) -> list[str]:
        messages = [sample_to_message(sample) for sample in samples]
        asked = [critique_to_message(critique) for critique in critiques]
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
        messages = [comparison_to_message(comparison) for comparison in comparisons]
        votes: list[Vote] = []
        for places in in_order(messages):
            request = critique_pb2.CompareRequest(comparisons=messages[places], principles=refs)
            answer = self._connection.call(self._stub.Compare, request, self._gone)
            votes += [vote_from_message(message) for message in answer.votes]
            self._spend(answer.usage)
        return votes

    def _spend(self, message: critique_pb2.Usage) -> None:
        self.usage = self.usage.plus(usage_from_message(message))

    def _ref(self, principle: Principle) -> critique_pb2.PrincipleRef:
        return critique_pb2.PrincipleRef(constitution=self._constitution, principle_id=principle.id)


class ConstitutionText(NamedTuple):
    constitution: Constitution
    yaml_text: str


class CheckedConstitution(NamedTuple):
    """Every error and warning, and the constitution where there is no error."""

    problems: tuple[Problem, ...]
    constitution: Constitution | None


class CritiqueClient:
    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = critique_pb2_grpc.CritiqueServiceStub(connection.channel)

    def feedback(self, constitution: str = "", gone: Callable[[], bool] | None = None) -> FeedbackClient:
        """interfaces.Feedback under a constitution, named by its hash or a built-in name."""
        return FeedbackClient(self._connection, constitution, gone)

    def revise_stream(
        self,
        samples: Sequence[Sample],
        constitution: str = "",
        *,
        principle_ids: Sequence[str] = (),
        rounds: int = 0,
        seed: int = 0,
        verify: bool | None = None,
    ) -> Iterator[Critique | RevisionStep | RevisionsEnd]:
        """Rounds of critique and revision as they are made, and their end; leaving the loop stops the model."""
        request = critique_pb2.ReviseStreamRequest(
            samples=[sample_to_message(sample) for sample in samples],
            constitution=constitution,
            principle_ids=principle_ids,
            rounds=rounds,
            seed=seed,
        )
        if verify is not None:
            request.verify = verify
        for answer in self._connection.stream(self._stub.ReviseStream, request):
            yield from_answer(answer)

    def get_constitution(self, constitution: str = "") -> ConstitutionText:
        request = critique_pb2.GetConstitutionRequest(constitution=constitution)
        answer = self._connection.call(self._stub.GetConstitution, request)
        return ConstitutionText(parse_constitution(answer.yaml_text, constitution), answer.yaml_text)

    def check_constitution(self, yaml_text: str, source: str = "constitution.yaml") -> CheckedConstitution:
        request = critique_pb2.CheckConstitutionRequest(yaml_text=yaml_text, source=source)
        answer = self._connection.call(self._stub.CheckConstitution, request)
        problems = problems_from_messages(answer.problems)
        valid = answer.HasField("constitution")
        return CheckedConstitution(problems, parse_constitution(yaml_text, source) if valid else None)
