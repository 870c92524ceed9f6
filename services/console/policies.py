"""Policies: who answers by default, promotion, and the way back."""

from __future__ import annotations

from http import HTTPStatus
from uuid import uuid4

from charter.v1 import policy_pb2
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from rlhf_core.errors import GatesNotPassed, InvalidInput
from rlhf_core.records.models import PRODUCTION
from services.console.backend import Backend, person_of
from services.console.pages import Pages, form_of
from services.console.production import in_production
from services.wire.policies import change_from_message, policy_from_message

PAGE = 100
CHANGES = 20


class Policies:
    def __init__(self, pages: Pages, backend: Backend):
        self._pages, self._backend, self._stub = pages, backend, backend.policy

    def routes(self) -> list[Route]:
        return [Route("/policies", self._page), Route("/policies", self._change, methods=["POST"])]

    async def _page(self, request: Request) -> Response:
        query = request.query_params
        run = query.get("run", "")
        asked = policy_pb2.ListPoliciesRequest(run_id=run, page_size=PAGE, page_token=query.get("page", ""))
        listed = await self._backend.ask(request, self._stub.ListPolicies, asked)
        history = policy_pb2.ListPolicyChangesRequest(page_size=CHANGES)
        changes = (await self._backend.ask(request, self._stub.ListPolicyChanges, history)).changes
        return await self._pages.page(
            request,
            "policies.html",
            policies=[policy_from_message(message) for message in listed.policies],
            in_production=await in_production(self._backend, request),
            changes=[(change.create_time, change_from_message(change)) for change in changes],
            run=run,
            more=listed.next_page_token,
            production=PRODUCTION,
            request_id=uuid4().hex,
        )

    async def _change(self, request: Request) -> Response:
        form, visitor = await form_of(request), await self._backend.visitor(request)
        verb, asked_by = form.get("verb", ""), person_of(request, visitor)
        alias, reason, request_id = (form.get(name, "").strip() for name in ("alias", "reason", "request_id"))
        if verb == "promote":
            promotion = policy_pb2.PromotePolicyRequest(
                policy_version=form.get("policy", ""),
                alias=alias,
                allow_ungated="allow_ungated" in form,
                reason=reason,
                changed_by=asked_by,
                request_id=request_id,
            )
            await self._promote(request, promotion)
        elif verb == "rollback":
            back = policy_pb2.RollbackPolicyRequest(
                alias=alias, reason=reason, changed_by=asked_by, request_id=request_id
            )
            await self._backend.ask(request, self._stub.RollbackPolicy, back)
        else:
            raise InvalidInput(f"verb: '{verb}' is none; allowed: promote, rollback", "verb")
        return RedirectResponse("/policies", HTTPStatus.SEE_OTHER)

    async def _promote(self, request: Request, promotion: policy_pb2.PromotePolicyRequest) -> None:
        """Raises the service's error, which says what to do on this page where judges have not passed."""
        try:
            await self._backend.ask(request, self._stub.PromotePolicy, promotion)
        except GatesNotPassed as error:
            told = "promote another policy; or tick under Promote that it be so although they have not, and say why"
            raise GatesNotPassed(error.message, hint=told) from None
