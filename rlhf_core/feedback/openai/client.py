"""A model behind an endpoint that speaks OpenAI's chat protocol: critic or judge, never the policy.

The endpoint is asked over HTTP by httpx2, an optional extra; what it answers is checked before it is believed.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx2
from pydantic import ValidationError

from rlhf_core.config.feedback import EndpointConfig
from rlhf_core.errors import InvalidInput, Unavailable
from rlhf_core.feedback.openai.rate_limit import Pace, wait_before
from rlhf_core.feedback.openai.response import Completion, fault, label_logprobs
from rlhf_core.interfaces import Caller, Conversation
from rlhf_core.records.samples import Message

BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses after which the same request may work."""
LONGEST_RETRY_AFTER = 600.0
"""Seconds; an endpoint that asks for a longer rest is told of as unavailable."""
POLL_SECONDS = 0.1
"""How often a caller is asked whether it is still there."""
PROBE_RETRIES = 1
"""Of the first question: what does not answer at the start is told at once."""
TOP = (20, 5, 0)
"""Numbers of likeliest tokens to ask for: the first that the endpoint accepts, or one that it names; 0 is none."""
_NUMBER = re.compile(r"(less than |below |under |smaller than |< ?)?(?<![\w.-])(\d+)(?![\w]|\.\d)", re.IGNORECASE)


class _Busy(Exception):
    """An answer that another try may better; `retry_after` is the header, where there is one."""

    def __init__(self, why: str, retry_after: str | None = None):
        super().__init__(why)
        self.retry_after = retry_after


class _Refused(InvalidInput):
    """A request that the endpoint will not answer as it is; `words` are its own."""

    def __init__(self, why: str, words: str):
        super().__init__(why)
        self.words = words


class Endpoint:
    """One model behind one address. Its methods block; at most `concurrency` requests are under way in each."""

    def __init__(self, model: str, config: EndpointConfig, key: str = ""):
        """`key` is sent as bearer token and kept nowhere else."""
        self.host = urlsplit(config.base_url).netloc
        self.name = f"openai:{model}@{self.host}"
        self.top = TOP[0]
        """How many of the likeliest tokens the endpoint names; 0 means that it gives no log-probabilities."""
        self._model, self._config, self._key = model, config, key
        self._limit = "max_tokens"
        self._greedy: dict[str, Any] = {"temperature": 0}
        self._pace = Pace(config.requests_per_minute, config.tokens_per_minute)

    reads_replies = False

    @property
    def gives_logprobs(self) -> bool:
        return self.top > 0

    def probe(self) -> None:
        """Ask one token, to learn that the address, the key and the model are right, and what the model accepts.

        Raises: InvalidInput for what must be configured otherwise, Unavailable for what may pass.
        """
        asked = [Message(role="user", content="Answer A or B.")]
        retries = min(PROBE_RETRIES, self._config.retries)
        while True:
            body = self._body(asked, 1, self.top)
            try:
                [found] = self._ask([body], Caller(), retries)
                break
            except _Refused as refused:
                if not self._adapt(refused.words, body):
                    raise
        self.top = self.top if found.first_token else 0
        self.name = f"openai:{found.model or self._model}@{self.host}"

    def _adapt(self, refusal: str, body: dict[str, Any]) -> bool:
        """Leave out or rename the option that a refusal names; False when it names none that can be spared."""
        if "logprobs" in refusal and self.top:
            self.top = _smaller(self.top, refusal)
        elif "max_tokens" in refusal and "max_tokens" in body:
            self._limit = "max_completion_tokens"
        elif "temperature" in refusal and self._greedy:
            self._greedy = {}
        else:
            return False
        return True

    def chat(self, conversations: Sequence[Conversation], max_tokens: int, caller: Caller) -> list[str]:
        """Return each conversation's next assistant turn, greedy; a refusal is its own words."""
        found = self._ask([self._body(conversation, max_tokens) for conversation in conversations], caller)
        return [completion.text.strip() for completion in found]

    def choose(self, conversations: Sequence[Conversation], labels: Sequence[str], caller: Caller) -> list[list[float]]:
        """Return each label's log-probability as the first token; all -inf in an answer that tells none of them."""
        found = self._ask([self._body(conversation, 1, self.top) for conversation in conversations], caller)
        return [label_logprobs(completion, labels) for completion in found]

    def weigh(self, conversations: Sequence[Conversation], replies: Sequence[str], caller: Caller) -> list[float]:
        """Refuse to weigh: chat endpoints tell log-probabilities of what they write, not of what they are given."""
        raise InvalidInput(f"'{self.name}' cannot weigh replies that it did not write; a model of this process can")

    def _body(self, conversation: Conversation, max_tokens: int, top: int = 0) -> dict[str, Any]:
        messages = [{"role": message.role, "content": message.content} for message in conversation]
        weighed = {"logprobs": True, "top_logprobs": top} if top else {}
        return {"model": self._model, "messages": messages, self._limit: max_tokens, **self._greedy, **weighed}

    def _ask(self, bodies: Sequence[dict[str, Any]], caller: Caller, retries: int | None = None) -> list[Completion]:
        retries = self._config.retries if retries is None else retries
        return asyncio.run(self._gather(bodies, caller, retries)) if bodies else []

    async def _gather(self, bodies: Sequence[dict[str, Any]], caller: Caller, retries: int) -> list[Completion]:
        gate = asyncio.Semaphore(self._config.concurrency)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        async with httpx2.AsyncClient(headers=headers, timeout=self._config.timeout_seconds) as client:

            async def one(body: dict[str, Any]) -> Completion:
                size = _size(body, self._limit)
                async with gate:
                    return await self._patiently(lambda: self._post(client, body), size, caller, retries)

            return await _together([asyncio.create_task(one(body)) for body in bodies], caller.gone)

    async def _patiently(
        self, post: Callable[[], Awaitable[Completion]], size: int, caller: Caller, retries: int
    ) -> Completion:
        """Send at the allowed pace, and again while the endpoint is busy."""
        for retry in range(retries + 1):
            await asyncio.sleep(self._pace.reserve(size))
            try:
                completion = await post()
            except _Busy as busy:
                wait = wait_before(retry + 1, busy.retry_after)
                if retry == retries or wait > LONGEST_RETRY_AFTER:
                    tries = f"{retry + 1} {'tries' if retry else 'try'}"
                    later = f"; it asks for a rest of {wait:.0f} s" if busy.retry_after else ""
                    raise Unavailable(f"{self.name}: {self._without_key(str(busy))} ({tries}{later})") from None
                await asyncio.sleep(wait)
                continue
            spent = completion.spent(retry, self._config.prompt_price, self._config.completion_price)
            if not spent.unmetered:
                self._pace.correct(spent.prompt_tokens + spent.completion_tokens - size)
            caller.bill(spent)
            return completion
        raise AssertionError("the last try returns or raises")

    async def _post(self, client: httpx2.AsyncClient, body: dict[str, Any]) -> Completion:
        try:
            answer = await client.post(f"{self._config.base_url}/chat/completions", json=body)
        except httpx2.TimeoutException:
            raise _Busy(f"no answer within {self._config.timeout_seconds:g} s") from None
        except httpx2.TransportError as error:
            raise _Busy(f"cannot be reached: {error or type(error).__name__}") from None
        if answer.status_code != 200:
            self._refuse(answer)
        try:
            return Completion.model_validate_json(answer.content)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise _Busy(f"an answer that is not OpenAI's protocol: {where} {first['msg']}".strip()) from None

    def _refuse(self, answer: httpx2.Response) -> None:
        """Raise what a status means."""
        status = answer.status_code
        message, code = fault(answer.content)
        told = self._without_key(f"{status}: {message[:300]}" if message else str(status))
        if status in BUSY and code != "insufficient_quota":
            raise _Busy(told, answer.headers.get("retry-after"))
        if status in (401, 403):
            key = self._config.key_env
            raise InvalidInput(f"{self.name}: refuses the key in {key} ({told})" if key else f"{self.name}: {told}")
        if status == 404:
            raise InvalidInput(f"{self.name}: no model '{self._model}' at {self._config.base_url} ({told})")
        raise _Refused(f"{self.name}: refuses the request ({told})", message)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _smaller(top: int, refusal: str) -> int:
    """The largest number below `top` that a refusal names, or else the next that is tried."""
    named = [int(number) - bool(below) for below, number in _NUMBER.findall(refusal) if len(number) < 4]
    return max((number for number in named if 0 < number < top), default=next(step for step in TOP if step < top))


def _size(body: dict[str, Any], limit: str) -> int:
    """Tokens that a request may take at most, by the rule of thumb of four characters to a token."""
    return len(json.dumps(body["messages"])) // 4 + body[limit]


async def _together(tasks: Sequence[asyncio.Task[Completion]], gone: Callable[[], bool]) -> list[Completion]:
    """All results; the first failure, or a caller who is gone, ends the rest."""
    pending = set(tasks)
    try:
        while pending:
            done, pending = await asyncio.wait(pending, timeout=POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
            if gone():
                raise Unavailable("given up: the caller is gone")
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
