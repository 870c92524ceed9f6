"""PolicyService: prompts in, samples out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

import grpc
from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.inference.sequence import SamplingParams
from rlhf_core.policies.resolve import speaking
from rlhf_core.records.models import SpeakingPolicy
from rlhf_core.store.store import Store
from services.rpc.policy_aliases import AliasDesk, reference
from services.rpc.policy_files import PolicyFiles
from services.rpc.run_references import run_id_of
from services.security.callers import CALLER
from services.serving.executor import Executor
from services.serving.generation_order import Answer, Piece
from services.serving.generation_queue import GenerationQueue
from services.wire import enums, field_masks
from services.wire.paging import MAX_PAGE, page_of
from services.wire.samples import prompt_from_message, prompts_from_messages, sample_to_message
from services.wire.stored_records import policy_version_to_message


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(
        self,
        queue: GenerationQueue,
        store: Store,
        io: Executor,
        info: policy_pb2.GetServerInfoResponse,
        files: PolicyFiles,
    ):
        self._queue = queue
        self._files = files
        self._store = store
        self._io = io
        self._info = info
        self._aliases = AliasDesk(store)

    async def Generate(
        self, request: policy_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GenerateResponse:
        prompts = prompts_from_messages(request.prompts)
        params = self._params(request, request.n or 1)
        speaks = await self._speaking(request.policy_version)
        answers = await self._queue.generate(prompts, speaks.version, params)
        return policy_pb2.GenerateResponse(
            policy_version=speaks.version,
            policy_alias=speaks.alias,
            samples=[sample_to_message(answer.sample) for answer in answers],
            tokens=[_tokens(answer) for answer in answers] if request.logprobs else (),
        )

    async def GenerateStream(
        self, request: policy_pb2.GenerateStreamRequest, context: grpc.aio.ServicerContext
    ) -> AsyncGenerator[policy_pb2.GenerateStreamResponse]:
        prompt = prompt_from_message(request.prompt)
        params = self._params(request)
        speaks = await self._speaking(request.policy_version)
        async for piece in self._queue.stream(prompt, speaks.version, params):
            yield _piece_to_message(piece, speaks, request.logprobs)

    async def ListPolicyVersions(
        self, request: policy_pb2.ListPolicyVersionsRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.ListPolicyVersionsResponse:
        page = page_of(request, MAX_PAGE)
        run_id = await self._io.run(run_id_of, self._store, request.run_id) or None
        versions, last = await self._io.run(self._store.policy_versions.page, page.size, page.after, run_id)
        messages = [policy_version_to_message(version) for version in versions]
        shown = field_masks.read(messages, request.read_mask, policy_pb2.PolicyVersion)
        return policy_pb2.ListPolicyVersionsResponse(policy_versions=shown, next_page_token=page.token(last))

    async def GetPolicy(
        self, request: policy_pb2.GetPolicyRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GetPolicyResponse:
        return await self._io.run(self._aliases.get, request)

    async def ListPolicies(
        self, request: policy_pb2.ListPoliciesRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.ListPoliciesResponse:
        return await self._io.run(self._aliases.listed, request)

    async def PromotePolicy(
        self, request: policy_pb2.PromotePolicyRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.PromotePolicyResponse:
        return await self._io.run(self._aliases.promote, request, CALLER.get().name)

    async def RollbackPolicy(
        self, request: policy_pb2.RollbackPolicyRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.RollbackPolicyResponse:
        return await self._io.run(self._aliases.roll_back, request, CALLER.get().name)

    async def ListPolicyChanges(
        self, request: policy_pb2.ListPolicyChangesRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.ListPolicyChangesResponse:
        return await self._io.run(self._aliases.changes, request)

    async def ExportPolicy(
        self, request: policy_pb2.ExportPolicyRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[policy_pb2.ExportPolicyResponse]:
        async for answer in self._files.answers(request):
            yield answer

    async def GetServerInfo(
        self, request: policy_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GetServerInfoResponse:
        return self._info

    async def alias_holders(self) -> dict[str, str]:
        """Return the version of each alias, for who lists models by every name that they have."""
        return await self._io.run(self._store.aliases.holders)

    def _params(
        self, request: policy_pb2.GenerateRequest | policy_pb2.GenerateStreamRequest, n: int = 1
    ) -> SamplingParams:
        return SamplingParams(
            n=n,
            temperature=request.temperature if request.HasField("temperature") else 1.0,
            max_tokens=request.max_tokens or self._info.max_tokens,
            seed=request.seed,
            stop=tuple(request.stop),
        )

    async def _speaking(self, name: str) -> SpeakingPolicy:
        return await self._io.run(speaking, self._store, reference(name))


def _piece_to_message(piece: Piece, speaks: SpeakingPolicy, logprobs: bool) -> policy_pb2.GenerateStreamResponse:
    sample = piece.answer.sample if piece.answer else None
    return policy_pb2.GenerateStreamResponse(
        text=piece.text,
        policy_version=speaks.version,
        policy_alias=speaks.alias,
        tokens=piece.written,
        logprob=piece.logprob,
        finished=sample is not None,
        finish_reason=enums.finish_reason(sample.finished) if sample else None,
        sample=sample_to_message(sample) if sample else None,
        new_tokens=_tokens(piece) if logprobs else None,
    )


def _tokens(written: Answer | Piece) -> policy_pb2.ResponseTokens:
    return policy_pb2.ResponseTokens(ids=written.tokens, logprobs=written.logprobs)
