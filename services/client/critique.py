"""The clients of CritiqueService: the critic and the judge, revisions, and the texts of constitutions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import groupby
from typing import NamedTuple, TypeVar

from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.constitution.constitution import Constitution, Principle
from rlhf_core.constitution.load import parse_constitution
from rlhf_core.constitution.validation.problems import Problem
from rlhf_core.interfaces import PanelJudge
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

K = TypeVar("K", str, tuple[str, ...])


class FeedbackClient:
    """interfaces.Feedback over the wire. Calls end with Unavailable once their caller is `gone`."""

    def __init__(
        self, connection: Connection, constitution: str, gone: Callable[[], bool] | None = None, judge: str = ""
    ):
        """`judge` is that of the server's panel who is asked; none is the one judge, or the panel's first."""
        self._connection = connection
        self._gone = gone
        self._named = judge
        self._constitution = constitution
        self._stub = critique_pb2_grpc.CritiqueServiceStub(connection.channel)
        self.usage = Usage()

    @property
    def name(self) -> str:
        """The model that judges, with its revision."""
        return self._asked.judge

    @property
    def critic_name(self) -> str:
        return self._judge.critic

    @property
    def template_hash(self) -> str:
        return self._asked.template_hash

    @property
    def panel(self) -> list[PanelJudge]:
        """The judges that label together, each to be asked by itself; none where one judge labels alone."""
        return [
            PanelJudge(
                one.name,
                one.protocol,
                one.weight,
                FeedbackClient(self._connection, self._constitution, self._gone, one.name),
            )
            for one in self._judge.panel
        ]

    @cached_property
    def _judge(self) -> critique_pb2.GetJudgeResponse:
        request = critique_pb2.GetJudgeRequest(constitution=self._constitution)
        return self._connection.call(self._stub.GetJudge, request)

    @cached_property
    def _asked(self) -> critique_pb2.PanelJudge:
        """The judge whom `compare` asks."""
        of_panel = {one.name: one for one in self._judge.panel}
        if self._named or of_panel:
            return of_panel[self._named or next(iter(of_panel))]
        return critique_pb2.PanelJudge(judge=self._judge.judge, template_hash=self._judge.template_hash)

    def critique(self, items: Sequence[tuple[Sample, Principle]]) -> list[Critique]:
        """Criticise each sample; those of one principle share a call."""
        critiques: dict[int, Critique] = {}
        for name, places in _alike([principle.id for _, principle in items]).items():
            messages = [sample_to_message(items[place][0]) for place in places]
            for part in in_order(messages):
                request = critique_pb2.CritiqueRequest(samples=messages[part], principle=self._ref(name))
                answer = self._connection.call(self._stub.Critique, request, self._gone)
                critiques |= zip(places[part], critiques_from_messages(answer.critiques), strict=True)
                self._spend(answer.usage)
        return [critiques[place] for place in range(len(items))]

    def revise(self, items: Sequence[tuple[Sample, Critique, Principle]]) -> list[str]:
        """Rewrite each sample's response; those of one principle share a call."""
        revisions: dict[int, str] = {}
        for name, places in _alike([principle.id for *_, principle in items]).items():
            messages = [sample_to_message(items[place][0]) for place in places]
            critiques = [critique_to_message(items[place][1]) for place in places]
            for part in in_order(messages):
                request = critique_pb2.ReviseRequest(
                    samples=messages[part], critiques=critiques[part], principle=self._ref(name)
                )
                answer = self._connection.call(self._stub.Revise, request, self._gone)
                revisions |= zip(places[part], answer.revisions, strict=True)
                self._spend(answer.usage)
        return [revisions[place] for place in range(len(items))]

    def compare(self, questions: Sequence[tuple[Comparison, Principle]]) -> list[Vote]:
        """Judge each comparison; pairs that are asked about under the same principles share a call."""
        # By object: two comparisons of one id may stand side by side, and each is asked about.
        pairs = [list(asked) for _, asked in groupby(questions, key=lambda question: id(question[0]))]
        votes: dict[int, list[Vote]] = {}
        for names, places in _alike([tuple(principle.id for _, principle in asked) for asked in pairs]).items():
            messages = [comparison_to_message(pairs[place][0][0]) for place in places]
            for part in in_order(messages):
                request = critique_pb2.CompareRequest(
                    comparisons=messages[part], principles=map(self._ref, names), judge=self._asked.name
                )
                answer = self._connection.call(self._stub.Compare, request, self._gone)
                cast = [vote_from_message(message) for message in answer.votes]
                each = 2 * len(names)
                votes |= {place: cast[i * each :][:each] for i, place in enumerate(places[part])}
                self._spend(answer.usage)
        return [vote for place in range(len(pairs)) for vote in votes[place]]

    def _spend(self, message: critique_pb2.Usage) -> None:
        self.usage = self.usage.plus(usage_from_message(message))

    def _ref(self, principle_id: str) -> critique_pb2.PrincipleRef:
        return critique_pb2.PrincipleRef(constitution=self._constitution, principle_id=principle_id)


def _alike(keys: Sequence[K]) -> dict[K, list[int]]:
    """Map each key to the indices at which it stands."""
    places: dict[K, list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    return places


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
        """Return interfaces.Feedback under a constitution, named by its hash or a built-in name."""
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
        """Yield rounds of critique and revision as they are made, and their end; leaving the loop stops the model."""
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
