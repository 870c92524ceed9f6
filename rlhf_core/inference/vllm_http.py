"""A vLLM server over HTTP: token ids in, token ids with their log-probs out, adapters loaded and unloaded by name.

It is asked by httpx2, an optional extra; what it answers is checked before it is believed. Shapes: vLLM 0.32.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import httpx2
from pydantic import BaseModel, Field, ValidationError

from rlhf_core.config.sampler import SamplerConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.inference.generate import Generated
from rlhf_core.inference.sampler_server import POLL_SECONDS, Adapter, Base, Row, TokenDraw, Told, tell_nobody

FIELD = "model.sampler.address"
START = "vllm serve MODEL --enable-lora --logprobs-mode processed_logprobs, with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True"
"""What a server must be started with."""
BUSY = (408, 409, 425, 429, 500, 502, 503, 504)
"""Statuses after which the same request may work."""
FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before the second try, and at most before any other."""
FORGET_SECONDS = 60.0
"""That a server is given to forget an adapter: nothing is lost where it does not."""

T = TypeVar("T")
Answer = TypeVar("Answer", bound=BaseModel)


class _Card(BaseModel):
    id: str
    parent: str | None = None
    max_model_len: int | None = None


class _Models(BaseModel):
    data: list[_Card]


class _Logprobs(BaseModel):
    token_logprobs: list[float]


class _Choice(BaseModel):
    token_ids: list[int] = Field(min_length=1)
    logprobs: _Logprobs


class _Completion(BaseModel):
    model: str
    choices: list[_Choice] = Field(min_length=1, max_length=1)


class _Busy(Exception):
    """An answer that another try may better."""


class _Missing(Exception):
    """The server knows no model, or no path, of that name."""


class VllmServer:
    """One server. Its methods block; while they wait, `poll` is called every so often, and may raise to give up."""

    def __init__(self, config: SamplerConfig, key: str = "", poll: Callable[[], None] = lambda: None):
        """`key` is sent as bearer token and kept nowhere else."""
        self.address = config.address or ""
        self._config, self._poll = config, poll
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}

    def base(self) -> Base:
        """Return the base model that is served. Raises Unavailable where nobody answers."""
        (found,) = self._run(lambda client: [self._tried(lambda: self._send(client, "GET", "models", None, _Models))])
        for card in found.data:
            if card.parent is None and card.max_model_len:
                return Base(card.id, card.max_model_len)
        raise self._wrong("serves no base model", f"start it with {START}")

    def load(self, adapter: Adapter) -> None:
        """Make an adapter known; one that is known already stays. Raises InvalidInput where the server cannot."""
        self._run(lambda client: [self._tried(lambda: self._load(client, adapter))])

    def unload(self, name: str) -> None:
        """Forget an adapter; one that is not known is forgotten already. Raises Unavailable after `FORGET_SECONDS`."""

        async def forget(client: httpx2.AsyncClient) -> None:
            try:
                await self._send(client, "POST", "unload_lora_adapter", {"lora_name": name}, None)
            except _Missing:
                return

        deadline = time.monotonic() + FORGET_SECONDS

        # Not the server's own poll: who has given up forgets too.
        def give_up() -> None:
            if time.monotonic() > deadline:
                raise Unavailable(f"{FIELD}: {self.address} does not forget '{name}' within {FORGET_SECONDS:g} s")

        self._run(lambda client: [self._tried(lambda: forget(client))], poll=give_up)

    def write(
        self,
        model: str,
        rows: Sequence[Row],
        draw: TokenDraw,
        adapter: Adapter | None,
        told: Told = tell_nobody,
        poll: Callable[[], None] | None = None,
    ) -> list[Generated]:
        """Write each row once, in their order: by the adapter, or by the base `model`.

        A row is asked for again after a failure, with its own seed. An adapter that the server has forgotten is loaded
        again first.
        """
        gate = asyncio.Semaphore(self._config.concurrency)
        # The base never changes, and its name may be a path, which is no salt.
        version = {"model": adapter.name, "cache_salt": adapter.name} if adapter else {"model": model}
        bodies = [version | self._body(row, draw) for row in rows]

        async def one(client: httpx2.AsyncClient, index: int, body: dict[str, Any]) -> Generated:
            async def ask() -> Generated:
                try:
                    return self._reply(await self._send(client, "POST", "completions", body, _Completion), body, draw)
                except _Missing as error:
                    if adapter is None:
                        raise
                    await self._load(client, adapter)
                    raise _Busy(f"had forgotten '{adapter.name}' ({error})") from None

            async with gate:
                reply = await self._tried(ask)
            told(index, reply)
            return reply

        if not bodies:
            return []
        return self._run(lambda client: [one(client, index, body) for index, body in enumerate(bodies)], poll)

    def _body(self, row: Row, draw: TokenDraw) -> dict[str, Any]:
        """All that the draw depends on is said, as what is left out comes from the model's own generation config."""
        allowed = {} if draw.token_ids is None else {"allowed_token_ids": list(draw.token_ids)}
        return {
            **{"prompt": row.prompt, "seed": row.seed},
            **{"temperature": draw.temperature, "max_tokens": draw.max_tokens, "n": 1},
            **{"top_p": 1.0, "top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0},
            **{"stop_token_ids": list(draw.stop_ids), "ignore_eos": True, "logprobs": 0, "return_token_ids": True},
            **allowed,
        }

    def _reply(self, answer: _Completion, body: Mapping[str, Any], draw: TokenDraw) -> Generated:
        """Read an answer. A row that was cut before its limit is asked for again."""
        (choice,) = answer.choices
        tokens, logprobs = choice.token_ids, choice.logprobs.token_logprobs
        if answer.model != body["model"]:
            raise self._wrong(f"answered for model '{answer.model}', asked was '{body['model']}'")
        if len(tokens) != len(logprobs):
            raise self._wrong(
                f"gave {len(logprobs)} log-probabilities of {len(tokens)} tokens", f"start it with {START}"
            )
        if strange := [token for token in tokens if not 0 <= token < draw.vocabulary]:
            told = f"wrote token {strange[0]}, where the model here has {draw.vocabulary}"
            raise self._wrong(told, "serve the same base model")
        finished = tokens[-1] in draw.stop_ids
        if not finished and len(tokens) != draw.max_tokens:
            raise _Busy(f"a response that was cut after {len(tokens)} of {draw.max_tokens} tokens")
        return Generated(tokens, logprobs, finished)

    async def _load(self, client: httpx2.AsyncClient, adapter: Adapter) -> None:
        body = {"lora_name": adapter.name, "lora_path": str(adapter.folder)}
        try:
            await self._send(client, "POST", "load_lora_adapter", body, None)
        except _Missing as error:
            told = f"cannot load the adapter in '{adapter.folder}' ({error})"
            raise self._wrong(told, f"it must read that folder at the same path, and be started as: {START}") from None
        except InvalidInput as error:
            if "already been loaded" not in str(error):
                raise
        except _Busy as error:
            if "max_lora_rank" not in str(error):
                raise
            raise self._wrong(
                f"cannot load the adapter in '{adapter.folder}' ({error})", "raise --max-lora-rank"
            ) from None

    async def _send(
        self,
        client: httpx2.AsyncClient,
        method: str,
        path: str,
        body: dict[str, Any] | None,
        shape: type[Answer] | None,
    ) -> Any:
        """Send a request and read its answer. Raises _Busy, _Missing, and InvalidInput for what no other try mends."""
        try:
            answer = await client.request(method, f"{self.address}/v1/{path}", json=body)
        except httpx2.TimeoutException:
            raise _Busy(f"no answer within {self._config.timeout_seconds:g} s") from None
        except httpx2.TransportError as error:
            raise _Busy(f"cannot be reached: {error or type(error).__name__}") from None
        status, told = answer.status_code, f"{answer.status_code}: {answer.text[:300].strip()}"
        if status == 404:
            raise _Missing(told)
        if status in BUSY:
            raise _Busy(told)
        if status != 200:
            raise self._wrong(f"refuses /v1/{path} ({told})")
        try:
            return None if shape is None else shape.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            told = f"answered /v1/{path} in another shape than vLLM's: {where} {first['msg']}".replace(":  ", ": ")
            raise self._wrong(told, f"start it with {START}") from None

    async def _tried(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask, and ask again while the server is busy or gone."""
        for retry in range(self._config.retries + 1):
            try:
                return await ask()
            except _Missing as error:
                raise self._wrong(f"does not know what it is asked for ({error})", f"start it with {START}") from None
            except _Busy as error:
                if retry == self._config.retries:
                    tries = f"{retry + 1} {'tries' if retry else 'try'}"
                    raise Unavailable(f"{FIELD}: {self.address}: {error} ({tries})") from None
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2**retry)
                await asyncio.sleep(wait / 2 + random.uniform(0, wait / 2))
        raise AssertionError("the last try returns or raises")

    def _run(
        self,
        coroutines: Callable[[httpx2.AsyncClient], list[Coroutine[Any, Any, T]]],
        poll: Callable[[], None] | None = None,
    ) -> list[T]:
        async def all_of_them() -> list[T]:
            limits = httpx2.Limits(max_connections=self._config.concurrency)
            timeout = httpx2.Timeout(self._config.timeout_seconds)
            async with httpx2.AsyncClient(headers=self._headers, timeout=timeout, limits=limits) as client:
                return await _together([asyncio.create_task(one) for one in coroutines(client)], poll or self._poll)

        return asyncio.run(all_of_them())

    def _wrong(self, what: str, hint: str = "") -> InvalidInput:
        return InvalidInput(f"{FIELD}: {self.address} {what}", FIELD, hint=hint)


async def _together(tasks: Sequence[asyncio.Task[T]], poll: Callable[[], None]) -> list[T]:
    """All results; the first failure, or a poll that gives up, ends the rest."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, timeout=POLL_SECONDS, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
            poll()
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
