"""PolicyService: prompts in, samples out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from charter.v1 import policy_pb2, policy_pb2_grpc

from rlhf_core.inference.sequence import SamplingParams
from rlhf_core.records.models import latest
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.store import Store
from services.serving.executor import Executor
from services.serving.generation_order import Answer, Piece
from services.serving.generation_queue import GenerationQueue
from services.wire import enums, field_masks, resource_names
from services.wire.paging import MAX_PAGE, page_of
from services.wire.samples import prompt_from_message, prompts_from_messages, sample_to_message
from services.wire.stored_records import policy_version_to_message

LATEST = "latest"


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(self, queue: GenerationQueue, store: Store, io: Executor, info: policy_pb2.GetServerInfoResponse):
        self._queue = queue
        self._store = store
        self._io = io
        self._info = info

    async def Generate(
        self, request: policy_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GenerateResponse:
        prompts = prompts_from_messages(request.prompts)
        params = self._params(request, request.n or 1)
        answers = await self._queue.generate(prompts, await self._policy_version(request.policy_version), params)
        return policy_pb2.GenerateResponse(
            samples=[sample_to_message(answer.sample) for answer in answers],
            tokens=[_tokens(answer) for answer in answers] if request.logprobs else (),
        )

    async def GenerateStream(
        self, request: policy_pb2.GenerateStreamRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[policy_pb2.GenerateStreamResponse]:
        prompt = prompt_from_message(request.prompt)
        params = self._params(request)
        policy_version = await self._policy_version(request.policy_version)
        async for piece in self._queue.stream(prompt, policy_version, params):
            yield _piece_to_message(piece, policy_version, request.logprobs)

    async def ListPolicyVersions(
        self, request: policy_pb2.ListPolicyVersionsRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.ListPolicyVersionsResponse:
        page = page_of(request, MAX_PAGE)
        run_id = resource_names.identity(resource_names.RUNS, request.run_id, "run_id") or None
        versions, last = await self._io.run(self._store.policy_versions.page, page.size, page.after, run_id)
        messages = [policy_version_to_message(version) for version in versions]
        shown = field_masks.read(messages, request.read_mask, policy_pb2.PolicyVersion)
        return policy_pb2.ListPolicyVersionsResponse(policy_versions=shown, next_page_token=page.token(last))

    async def GetServerInfo(
        self, request: policy_pb2.GetServerInfoRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GetServerInfoResponse:
        return self._info

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

    async def _policy_version(self, name: str) -> str:
        version = resource_names.identity(resource_names.POLICY_VERSIONS, name, "policy_version") or BASE_POLICY
        if version == LATEST:
            versions = await self._io.run(self._store.policy_versions.find)
            newest = latest(versions)
            version = newest.id if newest else BASE_POLICY
        return version


def _piece_to_message(piece: Piece, policy_version: str, logprobs: bool) -> policy_pb2.GenerateStreamResponse:
    sample = piece.answer.sample if piece.answer else None
    return policy_pb2.GenerateStreamResponse(
        text=piece.text,
        policy_version=policy_version,
        tokens=piece.written,
        logprob=piece.logprob,
        finished=sample is not None,
        finish_reason=enums.finish_reason(sample.finished) if sample else None,
        sample=sample_to_message(sample) if sample else None,
        new_tokens=_tokens(piece) if logprobs else None,
    )


def _tokens(written: Answer | Piece) -> policy_pb2.ResponseTokens:
    return policy_pb2.ResponseTokens(ids=written.tokens, logprobs=written.logprobs)
