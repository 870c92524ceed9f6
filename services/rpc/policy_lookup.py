"""What PolicyService says of policies without a model: which there are, and which is in production."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
from charter.v1 import policy_pb2
from google.protobuf.message import Message

from rlhf_core.store.store import Store
from services.rpc.policy_aliases import AliasDesk
from services.server.config import POLICY
from services.serving.executor import Executor

Ask = type[policy_pb2.GetPolicyRequest | policy_pb2.ListPoliciesRequest | policy_pb2.ListPolicyChangesRequest]


class PolicyLookup:
    """GetPolicy, ListPolicies and ListPolicyChanges for a server that loads no model and offers no more of it."""

    def __init__(self, store: Store, io: Executor):
        desk = AliasDesk(store)
        self._io = io
        self._answers: dict[str, tuple[Ask, Callable[[Any], Message]]] = {
            "GetPolicy": (policy_pb2.GetPolicyRequest, desk.get),
            "ListPolicies": (policy_pb2.ListPoliciesRequest, desk.listed),
            "ListPolicyChanges": (policy_pb2.ListPolicyChangesRequest, desk.changes),
        }

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        """Return a handler for each of its methods; the others stay what the server does not offer."""
        return {name: self._handler(*each) for name, each in self._answers.items()}

    def _handler(self, asked: Ask, work: Callable[[Any], Message]) -> grpc.RpcMethodHandler:
        async def answer(request: Message, context: grpc.aio.ServicerContext) -> Message:
            return await self._io.run(work, request)

        def written(message: Message) -> bytes:
            return message.SerializeToString()

        return grpc.unary_unary_rpc_method_handler(answer, asked.FromString, written)


def add_policy_lookup(lookup: PolicyLookup, server: Any) -> None:
    """Add it as generated code adds a servicer."""
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(POLICY, lookup.handlers()),))
