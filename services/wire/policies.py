"""What is known of policies and their aliases, as records and as messages."""

from __future__ import annotations

from typing import Literal, cast

from charter.v1 import policy_pb2

from rlhf_core.records.models import AliasChange, PolicyStanding
from services.wire import enums
from services.wire.stored_records import policy_version_from_message, policy_version_to_message


def policy_to_message(policy: PolicyStanding) -> policy_pb2.Policy:
    return policy_pb2.Policy(
        policy_version=policy_version_to_message(policy.version),
        aliases=policy.aliases,
        run_state=enums.number(enums.STATES, policy.run_state),
        unfinished=policy.unfinished,
        gates=enums.number(enums.GATES, policy.gates),
        gate_reason=policy.gate_reason,
    )


def policy_from_message(message: policy_pb2.Policy) -> PolicyStanding:
    return PolicyStanding(
        version=policy_version_from_message(message.policy_version),
        aliases=tuple(message.aliases),
        run_state=enums.value(enums.STATES, message.run_state, "run_state"),
        unfinished=message.unfinished,
        gates=enums.given(enums.GATES, message.gates, "gates"),
        gate_reason=message.gate_reason,
    )


def change_to_message(change: AliasChange) -> policy_pb2.PolicyChange:
    fields = change.model_dump(exclude={"version", "created_at"})
    return policy_pb2.PolicyChange(
        **fields, policy_version=change.version, create_time=enums.timestamp(change.created_at)
    )


def change_from_message(message: policy_pb2.PolicyChange) -> AliasChange:
    return AliasChange(
        number=message.number,
        alias=message.alias,
        version=message.policy_version,
        previous=message.previous,
        kind=cast(Literal["promote", "rollback"], message.kind),
        changed_by=message.changed_by,
        reason=message.reason,
        overridden=message.overridden,
        created_at=enums.time_text(message.create_time),
    )
