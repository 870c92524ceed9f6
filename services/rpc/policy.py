"""PolicyService: prompts in, samples out."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import grpc
from charter.v1 import policy_pb2, policy_pb2_grpc
from pydantic import BaseModel, ConfigDict, Field

from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.store import Store
from services.server.limits import MAX_N
from services.serving.executor import Executor
from services.serving.generation_queue import Answer, Draw, Piece, WritingQueue
from services.wire import enums, field_masks, resource_names
from services.wire.paging import MAX_PAGE, page_of
from services.wire.samples import prompt_from_message, prompts_from_messages, sample_to_message
from services.wire.stored_records import policy_version_to_message

LATEST = "latest"


class Limits(BaseModel):
    """What a request may ask for; complaints carry the request's own field names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n: int = Field(ge=1, le=MAX_N)
    temperature: float = Field(ge=0, le=100)
    max_tokens: int = Field(ge=1)
    seed: int
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(max_length=16)


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(self, writing: WritingQueue, store: Store, io: Executor, info: policy_pb2.GetServerInfoResponse):
        self._writing = writing
        self._store = store
        self._io = io
        self._info = info

    async def Generate(
        self, request: policy_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GenerateResponse:
        prompts = prompts_from_messages(request.prompts)
        answers = await self._writing.generate(prompts, await self._draw(request, request.n or 1))
        return policy_pb2.GenerateResponse(
            samples=[sample_to_message(answer.sample) for answer in answers],
            tokens=[_tokens(answer) for answer in answers] if request.logprobs else (),
        )

    async def GenerateStream(
        self, request: policy_pb2.GenerateStreamRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[policy_pb2.GenerateStreamResponse]:
        prompt = prompt_from_message(request.prompt)
        draw = await self._draw(request, 1)
        async for piece in self._writing.stream(prompt, draw):
            yield _piece_to_message(piece, draw.policy_version, request.logprobs)

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

    async def _draw(self, request: policy_pb2.GenerateRequest | policy_pb2.GenerateStreamRequest, n: int) -> Draw:
        limits = Limits(
            n=n,
            temperature=request.temperature if request.HasField("temperature") else 1.0,
            max_tokens=request.max_tokens or self._info.max_tokens,
            seed=request.seed,
            stop=tuple(request.stop),
        )
        version = (
            resource_names.identity(resource_names.POLICY_VERSIONS, request.policy_version, "policy_version")
            or BASE_POLICY
        )
        if version == LATEST:
            versions = await self._io.run(self._store.policy_versions.find)
            version = next((one.id for one in reversed(versions) if not one.is_control), BASE_POLICY)
        return Draw(version, limits.n, limits.temperature, limits.max_tokens, limits.seed, limits.stop)


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
