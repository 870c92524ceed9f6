"""What is said about constitutions, as records and as messages."""

from __future__ import annotations

import json
from collections.abc import Iterable

from charter.v1 import critique_pb2

from rlhf_core.constitution.diff import Change, ConstitutionDiff
from rlhf_core.constitution.validation.problems import Problem
from rlhf_core.constitution.watch import WatchStatus
from rlhf_core.effects.edit_cost import Bill
from rlhf_core.feedback.principle_tests import TestResult
from services.wire import enums

STATES = enums.Enum(critique_pb2.ConstitutionState.DESCRIPTOR, (None, "VALID", "INVALID"))


def problems_to_messages(problems: Iterable[Problem]) -> list[critique_pb2.ConstitutionProblem]:
    return [critique_pb2.ConstitutionProblem(**problem._asdict()) for problem in problems]


def problems_from_messages(messages: Iterable[critique_pb2.ConstitutionProblem]) -> tuple[Problem, ...]:
    return tuple(Problem(**enums.fields(message)) for message in messages)


def status_to_message(status: WatchStatus) -> critique_pb2.GetConstitutionStatusResponse:
    return critique_pb2.GetConstitutionStatusResponse(
        state=enums.number(STATES, status.state),
        source=status.source,
        active_hash=status.active_hash,
        problems=problems_to_messages(status.problems),
    )


def status_from_message(message: critique_pb2.GetConstitutionStatusResponse) -> WatchStatus:
    state = "INVALID" if message.state == critique_pb2.CONSTITUTION_STATE_INVALID else "VALID"
    return WatchStatus(state, message.source, message.active_hash, problems_from_messages(message.problems))


def diff_to_message(diff: ConstitutionDiff, bill: Bill) -> critique_pb2.ConstitutionDiff:
    def names(changes: Iterable[Change]) -> list[str]:
        return [change.what for change in changes]

    return critique_pb2.ConstitutionDiff(
        before_hash=diff.before.hash,
        after_hash=diff.after.hash,
        added=diff.added,
        removed=diff.removed,
        reworded=dict.fromkeys(rewording.principle_id for rewording in diff.reworded),
        reweighted=names(diff.reweighted),
        moved=names(diff.moved),
        asked=diff.asked,
        retrain=diff.retrain,
        unaffected=diff.unaffected,
        votes_invalid=bill.votes_invalid or 0,
        votes_to_ask=bill.votes_to_ask or 0,
        minutes=bill.minutes,
        json=json.dumps({"diff": diff.model_dump(mode="json"), "bill": bill.model_dump(mode="json")}),
    )


def diff_from_message(message: critique_pb2.ConstitutionDiff) -> tuple[ConstitutionDiff, Bill]:
    whole = json.loads(message.json)
    return ConstitutionDiff.model_validate(whole["diff"]), Bill.model_validate(whole["bill"])


def test_result_to_message(result: TestResult) -> critique_pb2.PrincipleTestResult:
    return critique_pb2.PrincipleTestResult(**result.model_dump())


def test_result_from_message(message: critique_pb2.PrincipleTestResult) -> TestResult:
    return TestResult.model_validate(enums.fields(message))
