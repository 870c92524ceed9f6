"""OpenAI's list of models: the base and every version of the policy. GET /v1/models and /v1/models/ID."""

from __future__ import annotations

from typing import Any

from charter.v1 import policy_pb2

from rlhf_core.errors import NotFound
from rlhf_core.records.samples import BASE_POLICY
from services.http.calls import Asked
from services.http.chat import NO_CONTEXT
from services.rpc.policy import PolicyService


class Models:
    def __init__(self, policy: PolicyService, base_model: str):
        self._policy, self._base_model = policy, base_model

    async def all(self, asked: Asked) -> dict[str, Any]:
        """List models, oldest first."""
        return {"object": "list", "data": await self._listed()}

    async def one(self, asked: Asked) -> dict[str, Any]:
        """Return a model. Raises NotFound."""
        found = next((model for model in await self._listed() if model["id"] == asked.name), None)
        if found is None:
            raise NotFound(f"no model '{asked.name[:200]}'", hint="GET /v1/models lists them")
        return found

    async def _listed(self) -> list[dict[str, Any]]:
        rows = [_row(BASE_POLICY, "charter", self._base_model)]
        request = policy_pb2.ListPolicyVersionsRequest()
        while True:
            page = await self._policy.ListPolicyVersions(request, NO_CONTEXT)
            rows += [_row(version.id, version.run_id, version.base_model) for version in page.policy_versions]
            if not page.next_page_token:
                return rows
            request.page_token = page.next_page_token


def _row(version: str, owner: str, base_model: str) -> dict[str, Any]:
    """`created` is asked for by clients; no time is kept of a version."""
    return {"id": version, "object": "model", "created": 0, "owned_by": owner, "base_model": base_model}
