"""What a client asks about constitutions: their status, what an edit does, and whether their tests pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from charter.v1 import critique_pb2, critique_pb2_grpc

from rlhf_core.constitution.diff import ConstitutionDiff
from rlhf_core.constitution.watch import WatchStatus
from rlhf_core.effects.edit_cost import Bill
from rlhf_core.effects.report import EffectReport
from rlhf_core.errors import Unavailable
from rlhf_core.feedback.principle_tests import TestResult
from rlhf_core.records.samples import Comparison
from services.client.connection import Connection
from services.wire.constitutions import diff_from_message, status_from_message, test_result_from_message
from services.wire.samples import comparison_to_message

Progress = Callable[[str, int, int], None]
"""Phase, votes asked, votes to ask."""


class Named(NamedTuple):
    """A constitution that the server knows by hash or built-in name, or YAML and what to call it."""

    name: str
    yaml_text: str = ""


class Difference(NamedTuple):
    """What differs and what it costs; `effects` where they were asked for."""

    diff: ConstitutionDiff
    bill: Bill
    effects: EffectReport | None


class Tested(NamedTuple):
    judge: str
    results: tuple[TestResult, ...]


class ConstitutionClient:
    """The part of CritiqueService that speaks of constitutions."""

    def __init__(self, connection: Connection):
        self._connection = connection
        self._stub = critique_pb2_grpc.CritiqueServiceStub(connection.channel)

    def status(self) -> WatchStatus:
        """Tell which constitution new requests get by default, and whether its file is valid."""
        request = critique_pb2.GetConstitutionStatusRequest()
        answer = self._connection.call(self._stub.GetConstitutionStatus, request)
        return status_from_message(answer)

    def diff(
        self,
        before: Named,
        after: Named,
        *,
        effects: bool = False,
        pairs: int = 0,
        seed: int = 0,
        probes: Sequence[Comparison] = (),
        on_progress: Progress = lambda phase, done, total: None,
    ) -> Difference:
        """Compare two constitutions; with effects the judge labels `pairs` pairs (0: 200) of `probes` or of its world.

        Sample a of a probe is the one that somebody chose.
        """
        request = critique_pb2.DiffConstitutionsRequest(
            before=_source(before),
            after=_source(after),
            effects=effects,
            pairs=pairs,
            seed=seed,
            probes=[comparison_to_message(probe) for probe in probes],
        )
        found: tuple[ConstitutionDiff, Bill] | None = None
        report: EffectReport | None = None
        for update in self._connection.stream(self._stub.DiffConstitutions, request):
            kind = update.WhichOneof("event")
            if kind == "diff":
                found = diff_from_message(update.diff)
            elif kind == "progress":
                on_progress(update.progress.phase, update.progress.done, update.progress.total)
            elif kind == "effects_json":
                report = EffectReport.model_validate_json(update.effects_json)
        if found is None or (effects and report is None):
            raise Unavailable("the server ended the comparison before its result")
        return Difference(*found, report)

    def test(self, constitution: Named, principle_ids: Sequence[str] = ()) -> Tested:
        """Ask the judge each principle's tests and examples."""
        request = critique_pb2.TestConstitutionRequest(constitution=_source(constitution), principle_ids=principle_ids)
        answer = self._connection.call(self._stub.TestConstitution, request)
        results = tuple(test_result_from_message(result) for result in answer.results)
        return Tested(answer.judge, results)


def _source(named: Named) -> critique_pb2.ConstitutionSource:
    if named.yaml_text:
        return critique_pb2.ConstitutionSource(yaml_text=named.yaml_text, name=named.name)
    return critique_pb2.ConstitutionSource(constitution=named.name)
