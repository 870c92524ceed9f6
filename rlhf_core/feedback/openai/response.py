"""What an OpenAI-compatible endpoint answers, checked before it is believed."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rlhf_core.records.feedback import Usage


class _Answer(BaseModel):
    """Endpoints add fields of their own; those are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class TopLogprob(_Answer):
    token: str
    logprob: float


class TokenLogprob(TopLogprob):
    top_logprobs: tuple[TopLogprob, ...] = ()


class Logprobs(_Answer):
    content: tuple[TokenLogprob, ...] | None = None


class Turn(_Answer):
    content: str | None = None
    refusal: str | None = None


class Choice(_Answer):
    message: Turn
    logprobs: Logprobs | None = None


class Tokens(_Answer):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)


class Completion(_Answer):
    model: str = ""
    choices: tuple[Choice, ...] = Field(min_length=1)
    usage: Tokens | None = None

    @property
    def text(self) -> str:
        """The assistant's words, or those of its refusal."""
        turn = self.choices[0].message
        return turn.content or turn.refusal or ""

    @property
    def first_token(self) -> tuple[TopLogprob, ...]:
        """The likeliest first tokens; empty where the endpoint gives no log-probabilities."""
        logprobs = self.choices[0].logprobs
        content = logprobs.content if logprobs else None
        return (content[0].top_logprobs or (content[0],)) if content else ()

    def spent(self, retries: int, prompt_price: float, completion_price: float) -> Usage:
        """What this answer took, at prices per million tokens."""
        if self.usage is None:
            return Usage(requests=1, retries=retries, unmetered=1)
        asked, given = self.usage.prompt_tokens, self.usage.completion_tokens
        cost = (asked * prompt_price + given * completion_price) / 1e6
        return Usage(requests=1, retries=retries, prompt_tokens=asked, completion_tokens=given, cost=cost)


class _Fault(_Answer):
    message: str = ""
    code: str | int | None = None


class _Refusal(_Answer):
    error: _Fault | str = _Fault()


def fault(body: bytes) -> tuple[str, str]:
    """Message and code of an error's body, each empty where there is none."""
    try:
        error = _Refusal.model_validate_json(body).error
    except ValidationError:
        return "", ""
    return (error, "") if isinstance(error, str) else (error.message, str(error.code or ""))


def label_logprobs(completion: Completion, labels: Sequence[str]) -> list[float]:
    """Each label's log-probability as the first token, in nats, with and without spaces around it.

    A label that is not among the likeliest is given the most that it can have: no more than the least of them, nor than
    what they leave over. Where no label is among them all are -inf, as nothing is known of their order.
    """
    top = completion.first_token
    found = [[t.logprob for t in top if t.token.strip() == label] for label in labels]
    if not any(found):
        return [-math.inf] * len(labels)
    left = max(1 - sum(math.exp(token.logprob) for token in top), sys.float_info.epsilon)
    most = min(math.log(left), min(token.logprob for token in top))
    return [math.log(sum(map(math.exp, values))) if values else most for values in found]
