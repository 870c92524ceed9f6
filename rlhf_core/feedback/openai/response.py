"""What an OpenAI-compatible endpoint answers, checked before it is believed."""

from __future__ import annotations

import html
import json
import math
import re
import sys
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlhf_core.records.feedback import Usage

FILLER = -100.0
"""A log-probability of no more than this stands for one that was not computed: servers write -100, -1000, -9999."""
ROUNDING = 0.01
"""How far above 0 rounding may take a log-probability."""
LEAST = math.log(sys.float_info.epsilon)
"""The least log-probability that a label is given."""


class _Answer(BaseModel):
    """Endpoints add fields of their own; those are passed over, and a field that is null is one that is left out."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: object) -> object:
        return {key: value for key, value in given.items() if value is not None} if isinstance(given, dict) else given


class TopLogprob(_Answer):
    token: str
    logprob: float = Field(strict=True)

    @field_validator("logprob")
    @classmethod
    def _is_a_log_probability(cls, logprob: float) -> float:
        if math.isnan(logprob) or logprob > ROUNDING:
            raise ValueError(f"{logprob:g} is no log-probability")
        return min(logprob, 0.0)


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
        """The likeliest first tokens, without fillers; empty where the endpoint gives no log-probabilities."""
        logprobs = self.choices[0].logprobs
        content = logprobs.content if logprobs else None
        named = (content[0].top_logprobs or (content[0],)) if content else ()
        return tuple(token for token in named if token.logprob > FILLER)

    def spent(self, retries: int, prompt_price: float, completion_price: float) -> Usage:
        """Return what this answer took, at prices per million tokens."""
        if self.usage is None:
            return Usage(requests=1, retries=retries, unmetered=1)
        asked, given = self.usage.prompt_tokens, self.usage.completion_tokens
        cost = (asked * prompt_price + given * completion_price) / 1e6
        return Usage(requests=1, retries=retries, prompt_tokens=asked, completion_tokens=given, cost=cost)


WORDS = ("error", "errors", "message", "detail", "msg", "title", "reason", "error_description")
"""Where servers put what an error is about."""
DEEPEST = 6
_MARKUP = re.compile(r"(?is)<(script|style)\b.*?</\1\s*>|<[^<>]*>")


def fault(body: bytes) -> tuple[str, str]:
    """Return the message and code of an error's body, whatever its shape; each empty where there is none."""
    text = body.decode("utf-8", "replace")
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return _one_line(html.unescape(_MARKUP.sub(" ", text))), ""
    return _one_line(_words(told)), _code(told)


def _words(told: object, depth: int = 0) -> str:
    """What the error says: each place that may hold it, none twice; all of it where there is no such place."""
    if isinstance(told, str):
        return told
    if told is None or depth == DEEPEST:
        return ""
    if isinstance(told, list):
        return "; ".join(dict.fromkeys(filter(None, (_words(each, depth + 1) for each in told))))
    if not isinstance(told, dict):
        return str(told)
    found = list(dict.fromkeys(filter(None, (_words(told.get(key), depth + 1) for key in WORDS))))
    if found and isinstance(place := told.get("loc"), list):
        found = [".".join(map(str, place)), *found]
    return ": ".join(found) if found or not told else json.dumps(told, ensure_ascii=False)


def _code(told: object) -> str:
    if isinstance(told, list):
        return next(filter(None, map(_code, told)), "")
    if not isinstance(told, dict):
        return ""
    inner = told.get("error")
    return _code(inner) if isinstance(inner, dict) else str(told.get("code") or "")


def _one_line(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def label_logprobs(completion: Completion, labels: Sequence[str]) -> list[float]:
    """Return each label's log-probability as the first token, in nats, with and without spaces around it.

    A label that is not among the likeliest is given the most that it can have: no more than the least of them, nor than
    what they leave over. Where no label is among them all are -inf, as nothing is known of their order.
    """
    top = completion.first_token
    found = [[t.logprob for t in top if t.token.strip() == label] for label in labels]
    if not any(found):
        return [-math.inf] * len(labels)
    left = max(1 - sum(math.exp(token.logprob) for token in top), sys.float_info.epsilon)
    most = min(math.log(left), min(token.logprob for token in top))
    return [max(LEAST, math.log(sum(map(math.exp, values))) if values else most) for values in found]
