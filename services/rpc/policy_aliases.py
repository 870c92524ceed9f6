"""What PolicyService does with aliases: once for each request id, or only tried, in the name of who asks."""

from __future__ import annotations

from collections.abc import Callable

from charter.v1 import policy_pb2

from rlhf_core.policies.policies import Policies, check_alias
from rlhf_core.policies.resolve import PRODUCTION
from rlhf_core.records.models import AliasChange
from rlhf_core.store.store import Store
from services.rpc.run_changes import tried
from services.rpc.run_references import run_id_of
from services.wire import field_masks, resource_names
from services.wire.paging import body_of, page_of
from services.wire.policies import change_to_message, policy_to_message

PAGE = 100
Change = policy_pb2.PromotePolicyRequest | policy_pb2.RollbackPolicyRequest


class AliasDesk:
    """GetPolicy, ListPolicies, PromotePolicy, RollbackPolicy and ListPolicyChanges for one server."""

    def __init__(self, store: Store):
        self._store = store
        self._policies = Policies(store)

    def get(self, request: policy_pb2.GetPolicyRequest) -> policy_pb2.GetPolicyResponse:
        found = self._policies.get_policy(reference(request.policy_version))
        return policy_pb2.GetPolicyResponse(policy=policy_to_message(found))

    def listed(self, request: policy_pb2.ListPoliciesRequest) -> policy_pb2.ListPoliciesResponse:
        page = page_of(request, PAGE)
        found, last = self._policies.page(page.size, page.after, run_id_of(self._store, request.run_id))
        messages = [policy_to_message(policy) for policy in found]
        shown = field_masks.read(messages, request.read_mask, policy_pb2.Policy)
        return policy_pb2.ListPoliciesResponse(policies=shown, next_page_token=page.token(last))

    def promote(self, request: policy_pb2.PromotePolicyRequest, caller: str) -> policy_pb2.PromotePolicyResponse:
        def work() -> AliasChange:
            return self._policies.promote_policy(
                reference(request.policy_version),
                request.alias or PRODUCTION,
                changed_by=caller or request.changed_by,
                reason=request.reason,
                allow_ungated=request.allow_ungated,
            )

        change = self._once("PromotePolicy", request, work)
        return policy_pb2.PromotePolicyResponse(change=change_to_message(change))

    def roll_back(self, request: policy_pb2.RollbackPolicyRequest, caller: str) -> policy_pb2.RollbackPolicyResponse:
        def work() -> AliasChange:
            return self._policies.rollback_policy(
                request.alias or PRODUCTION, changed_by=caller or request.changed_by, reason=request.reason
            )

        change = self._once("RollbackPolicy", request, work)
        return policy_pb2.RollbackPolicyResponse(change=change_to_message(change))

    def changes(self, request: policy_pb2.ListPolicyChangesRequest) -> policy_pb2.ListPolicyChangesResponse:
        page = page_of(request, PAGE)
        if request.alias:
            check_alias(request.alias)
        found = self._store.aliases.history(request.alias, page.size + 1, page.after)
        last = found[page.size - 1].number if found[page.size :] else 0
        messages = [change_to_message(change) for change in found[: page.size]]
        shown = field_masks.read(messages, request.read_mask, policy_pb2.PolicyChange)
        return policy_pb2.ListPolicyChangesResponse(changes=shown, next_page_token=page.token(last))

    def _once(self, method: str, request: Change, work: Callable[[], AliasChange]) -> AliasChange:
        if request.validate_only:
            return tried(self._store, work)
        body = body_of(request, "request_id", "validate_only").hex()
        answer = self._store.requests.once(method, request.request_id, body, lambda: work().model_dump_json())
        return AliasChange.model_validate_json(answer)


def reference(given: str) -> str:
    """Return what a request calls a policy: its resource name is as good as its id, and so is that of its run."""
    if given.startswith(f"{resource_names.RUNS}/"):
        return resource_names.identity(resource_names.RUNS, given, "policy_version")
    return resource_names.identity(resource_names.POLICY_VERSIONS, given, "policy_version")
