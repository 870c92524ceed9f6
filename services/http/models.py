"""OpenAI's list of models: the base, aliases with their holders, and every version of the policy.

GET /v1/models and /v1/models/ID.
"""

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
        """List the base, then aliases, then versions, oldest first."""
        return {"object": "list", "data": await self._listed()}

    async def one(self, asked: Asked) -> dict[str, Any]:
        """Return a model. Raises NotFound."""
        found = next((model for model in await self._listed() if model["id"] == asked.name), None)
        if found is None:
            raise NotFound(f"no model '{asked.name[:200]}'", hint="GET /v1/models lists them")
        return found

    async def _listed(self) -> list[dict[str, Any]]:
        rows = {BASE_POLICY: _row(BASE_POLICY, "charter", self._base_model)}
        request = policy_pb2.ListPolicyVersionsRequest()
        while True:
            page = await self._policy.ListPolicyVersions(request, NO_CONTEXT)
            rows |= {found.id: _row(found.id, found.run_id, found.base_model) for found in page.policy_versions}
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
        holders = (await self._policy.alias_holders()).items()
        named = [rows[version] | {"id": alias} for alias, version in holders if version in rows]
        base, *versions = rows.values()
        return [base, *named, *versions]


def _row(version: str, owner: str, base_model: str) -> dict[str, Any]:
    """`root` is the version that speaks, which an alias names otherwise; no time is kept of one as `created`."""
    told = {"id": version, "object": "model", "created": 0, "owned_by": owner}
    return told | {"root": version, "base_model": base_model}
