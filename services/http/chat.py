"""OpenAI's chat completions, answered by any version of the policy: POST /v1/chat/completions.

A parameter that nothing here carries out is refused by its name, unless its value asks for nothing.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, cast

import grpc
from charter.v1 import common_pb2, policy_pb2
from pydantic import Field, field_validator

from rlhf_core.errors import InvalidInput, Violation
from services.http.calls import Answer, Asked
from services.http.errors import Unsupported
from services.http.texts import Shape, Turn, prompt_of
from services.http.vocabulary import Vocabulary, bytes_of
from services.rpc.policy import PolicyService
from services.server.limits import Limits, check_request
from services.telemetry import metrics

NO_CONTEXT = cast(grpc.aio.ServicerContext, None)
"""The policy's methods ask nothing of the call that they answer."""
DONE = "[DONE]"
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_p": (None, 1),
    "top_logprobs": (None, 0),
    "frequency_penalty": (None, 0),
    "presence_penalty": (None, 0),
    "logit_bias": (None, {}),
    "tools": (None, []),
    "tool_choice": (None, "none", "auto"),
    "parallel_tool_calls": (None, True, False),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "store": (None, False),
    "service_tier": (None, "auto", "default"),
}
"""Parameters of OpenAI's that are not carried out, and the values that ask for nothing."""
OUR_WORDS = re.compile(r"^(?:(prompts?(?:\[0\])?(?:\.(?:messages|text))?)|policy_version)(?=[:\[.]|$)")
"""What the contract calls a place in a request, where OpenAI says `messages` or `model`."""


class StreamOptions(Shape):
    include_usage: bool = False


class ChatRequest(Shape):
    """What is carried out of OpenAI's parameters."""

    model: str = Field(min_length=1)
    messages: tuple[Turn, ...] = Field(min_length=1)
    stream: bool = False
    stream_options: StreamOptions | None = None
    n: int | None = Field(None, ge=1, lt=2**31)
    temperature: float | None = None
    max_tokens: int | None = Field(None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(None, ge=1, lt=2**31)
    stop: tuple[str, ...] | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    logprobs: bool | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def _one_or_many(cls, stop: Any) -> Any:
        return (stop,) if isinstance(stop, str) else stop

    @property
    def limit(self) -> int:
        """Tokens of a reply; 0 is the server's default."""
        if None not in (self.max_tokens, self.max_completion_tokens) and self.max_tokens != self.max_completion_tokens:
            told = f"max_tokens: {self.max_tokens}, and max_completion_tokens: {self.max_completion_tokens}; give one"
            raise InvalidInput(told, "max_tokens")
        return self.max_completion_tokens or self.max_tokens or 0


class Chat:
    """Answers by way of PolicyService in this process."""

    def __init__(self, policy: PolicyService, vocabulary: Vocabulary, limits: Limits):
        self._policy, self._vocabulary, self._limits = policy, vocabulary, limits

    async def complete(self, asked: Asked) -> Answer:
        """Return all choices at once, or one as a stream of chunks."""
        request = ChatRequest.model_validate(_carried_out(asked.body))
        if request.stream:
            if (request.n or 1) > 1:
                raise Unsupported(f"n: {request.n} with stream; allowed: 1, or stream: false", "n")
            return self._chunks(request)
        if request.stream_options:
            raise InvalidInput("stream_options: only with stream: true", "stream_options")
        return await self._whole(request)

    async def _whole(self, request: ChatRequest) -> dict[str, Any]:
        prompt, limit = prompt_of(request.messages), request.limit
        asked = policy_pb2.GenerateRequest(
            prompts=[prompt],
            policy_version=request.model,
            n=request.n or 1,
            temperature=1.0 if request.temperature is None else request.temperature,
            max_tokens=limit,
            seed=_seed(request),
            stop=request.stop or (),
            logprobs=bool(request.logprobs),
        )
        try:
            check_request(asked, self._limits)
            answer = await self._policy.Generate(asked, NO_CONTEXT)
        except InvalidInput as error:
            raise in_their_words(error) from None
        metrics.TOKENS.inc(metrics.written_tokens(answer))
        tokens = answer.tokens or [None] * len(answer.samples)
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": sample.response, "refusal": None},
                "logprobs": await self._logprobs(written) if written else None,
                "finish_reason": _finish(sample.finish_reason),
            }
            for index, (sample, written) in enumerate(zip(answer.samples, tokens, strict=True))
        ]
        written = sum(sample.tokens for sample in answer.samples)
        head = _head("chat.completion", answer.samples[0].policy_version)
        return {**head, "choices": choices, "usage": await self._usage(prompt, written)}

    async def _chunks(self, request: ChatRequest) -> AsyncGenerator[str]:
        """Leaving the stream stops the model before its next token."""
        prompt = prompt_of(request.messages)
        asked = policy_pb2.GenerateStreamRequest(
            prompt=prompt,
            policy_version=request.model,
            temperature=1.0 if request.temperature is None else request.temperature,
            max_tokens=request.limit,
            seed=_seed(request),
            stop=request.stop or (),
            logprobs=bool(request.logprobs),
        )
        head: dict[str, Any] = {}
        delta, last = {"role": "assistant", "content": ""}, 0
        try:
            check_request(asked, self._limits)
            async with aclosing(self._policy.GenerateStream(asked, NO_CONTEXT)) as pieces:
                async for piece in pieces:
                    head = head or _head("chat.completion.chunk", piece.policy_version)
                    before = [last] if delta.get("role") is None else []
                    logprobs = await self._logprobs(piece.new_tokens, before) if request.logprobs else None
                    last = piece.new_tokens.ids[-1] if piece.new_tokens.ids else last
                    finish = _finish(piece.finish_reason) if piece.finished else None
                    delta["content"] = piece.text
                    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
                    if piece.text or logprobs or finish or "role" in delta:
                        yield json.dumps({**head, "choices": [choice]})
                    delta = {}
                    metrics.TOKENS.inc(metrics.written_tokens(piece))
                    if piece.finished and request.stream_options and request.stream_options.include_usage:
                        usage = await self._usage(prompt, piece.tokens)
                        yield json.dumps({**head, "choices": [], "usage": usage})
        except InvalidInput as error:
            raise in_their_words(error) from None
        yield DONE

    async def _logprobs(self, written: policy_pb2.ResponseTokens, before: list[int] | None = None) -> dict[str, Any]:
        """Of each token but the one that ends the reply, in nats at the sampling temperature."""
        texts = await self._vocabulary.texts(list(written.ids), before or [])
        content = [
            {"token": text, "logprob": logprob, "bytes": bytes_of(text), "top_logprobs": []}
            for text, logprob in zip(texts, written.logprobs, strict=True)
            if text is not None
        ]
        return {"content": content, "refusal": None}

    async def _usage(self, prompt: common_pb2.Prompt, written: int) -> dict[str, int]:
        read = await self._vocabulary.prompt_tokens(prompt)
        return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def in_their_words(error: InvalidInput) -> InvalidInput:
    """Put an error in OpenAI's names for what the contract calls otherwise."""

    def said(text: str) -> str:
        return OUR_WORDS.sub(lambda found: "messages" if found[1] else "model", text)

    found = [Violation(said(one.field), said(one.message)) for one in error.violations]
    return type(error)(said(error.message), said(error.field), hint=error.hint, violations=found)


def _carried_out(given: Any) -> Any:
    """The parameters that are. Raises Unsupported for the first other one that asks for something."""
    if not isinstance(given, dict):
        return given
    known = ChatRequest.model_fields
    for name, value in given.items():
        if name in known:
            continue
        if name not in NEUTRAL:
            raise Unsupported(f"{name[:200]}: no parameter of this server; allowed: {', '.join(known)}", name[:200])
        if value not in NEUTRAL[name]:
            only = " or ".join(json.dumps(one) for one in NEUTRAL[name] if one is not None)
            raise Unsupported(f"{name}: not supported here; allowed: {only}, or leave it out", name)
    return {name: value for name, value in given.items() if name in known}


def _seed(request: ChatRequest) -> int:
    """As with OpenAI, a call without a seed is another draw each time."""
    return secrets.randbits(62) if request.seed is None else request.seed


def _head(kind: str, version: str) -> dict[str, Any]:
    """`model` is the version that speaks."""
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": version}


def _finish(reason: common_pb2.FinishReason) -> str:
    return "length" if reason == common_pb2.FINISH_REASON_LENGTH else "stop"
