"""Which policy is in production, as the pages tell it."""

from __future__ import annotations

from typing import NamedTuple

from charter.v1 import policy_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.requests import Request

from rlhf_core.records.models import PRODUCTION
from services.console.backend import Backend
from services.wire.policies import change_from_message, policy_from_message


class Production(NamedTuple):
    policy: str
    run: str
    """That made it."""
    since: Timestamp
    by: str
    """Who promoted it; empty where nobody said."""
    reason: str


async def in_production(backend: Backend, request: Request) -> Production | None:
    """Ask which policy is in production; None where nobody is, and the base model answers."""
    found = await backend.ask(request, backend.policy.GetPolicy, policy_pb2.GetPolicyRequest())
    policy = policy_from_message(found.policy)
    if PRODUCTION not in policy.aliases:
        return None
    asked = policy_pb2.ListPolicyChangesRequest(alias=PRODUCTION, page_size=1)
    (message,) = (await backend.ask(request, backend.policy.ListPolicyChanges, asked)).changes
    change = change_from_message(message)
    return Production(policy.version.id, policy.version.run_id, message.create_time, change.changed_by, change.reason)
