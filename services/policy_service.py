"""PolicyService: prompts in, samples out."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
from charter.v1 import policy_pb2, policy_pb2_grpc
from pydantic import BaseModel, ConfigDict, Field

from rlhf_core.records import BASE_POLICY, Sample
from rlhf_core.store.store import Store
from services import convert, convert_rows, wire
from services.executor import Executor
from services.model_queue import Draw, ModelQueue

LATEST = "latest"


class Limits(BaseModel):
    """What a request may ask for; complaints carry the request's own field names."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n: int = Field(ge=1, le=256)
    temperature: float = Field(ge=0, le=100)
    max_tokens: int = Field(ge=1)
    seed: int


class PolicyService(policy_pb2_grpc.PolicyServiceServicer):
    def __init__(self, models: ModelQueue, store: Store, rows: Executor, info: policy_pb2.GetServerInfoResponse):
        self._models = models
        self._store = store
        self._rows = rows
        self._info = info

    async def Generate(
        self, request: policy_pb2.GenerateRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.GenerateResponse:
        prompts = convert.prompts_from_messages(request.prompts)
        samples = await self._models.generate(prompts, await self._draw(request, request.n or 1))
        return policy_pb2.GenerateResponse(samples=[convert.sample_to_message(sample) for sample in samples])

    async def GenerateStream(
        self, request: policy_pb2.GenerateStreamRequest, context: grpc.aio.ServicerContext
    ) -> AsyncIterator[policy_pb2.GenerateStreamResponse]:
        prompt = convert.prompt_from_message(request.prompt)
        draw = await self._draw(request, 1)
        sent = ""
        async for sample in self._models.stepwise(prompt, draw):
            last = sample.finished or sample.tokens == draw.max_tokens
            # The bytes of an unfinished character decode to U+FFFD: they wait for the next token.
            text = sample.response if last else sample.response.rstrip("\ufffd")
            yield _piece(sample, text.removeprefix(sent), last)
            sent = text

    async def ListPolicyVersions(
        self, request: policy_pb2.ListPolicyVersionsRequest, context: grpc.aio.ServicerContext
    ) -> policy_pb2.ListPolicyVersionsResponse:
        versions = await self._rows.run(self._store.policy_versions, request.run_id or None)
        messages = [convert_rows.policy_version_to_message(version) for version in versions]
        return policy_pb2.ListPolicyVersionsResponse(policy_versions=messages)

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
        )
        version = request.policy_version or BASE_POLICY
        if version == LATEST:
            versions = await self._rows.run(self._store.policy_versions)
            version = versions[-1].id if versions else BASE_POLICY
        return Draw(version, limits.n, limits.temperature, limits.max_tokens, limits.seed)


def _piece(sample: Sample, text: str, last: bool) -> policy_pb2.GenerateStreamResponse:
    return policy_pb2.GenerateStreamResponse(
        text=text,
        policy_version=sample.policy_version,
        tokens=sample.tokens,
        logprob=sample.logprob,
        finished=last,
        finish_reason=wire.finish_reason(sample.finished) if last else None,
        sample=convert.sample_to_message(sample) if last else None,
    )
