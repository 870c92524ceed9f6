"""One response while it is written: its tokens, where it ends, and the text that may be shown so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Annotated, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

MAX_N = 256
"""Responses to one prompt in one call."""
HALF_CHARACTER = "\ufffd"
"""What the bytes of an unfinished character decode to."""


class SamplingParams(BaseModel):
    """How the responses of one call are drawn; complaints carry these field names, which are those of requests."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n: int = Field(1, ge=1, le=MAX_N)
    """Responses to each prompt."""
    temperature: float = Field(1.0, ge=0, le=100)
    """0 takes the likeliest token."""
    max_tokens: int = Field(64, ge=1)
    seed: int = 0
    stop: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field((), max_length=16)
    """Strings that end a response; the text is cut before the first one."""


class TokenMeaning(NamedTuple):
    """What tokens mean: their text, and which of them end a response."""

    decode: Callable[[Sequence[int]], str]
    stop_ids: Collection[int]


class TokenSequence:
    """A prompt and its response on their way through an engine, which hands it one token after another."""

    def __init__(
        self,
        prompt: tuple[int, ...],
        seed: int,
        policy_version: str,
        params: SamplingParams,
        meaning: TokenMeaning,
        shown: bool = False,
    ):
        """`seed` is this response's own and fixes its noise, so that its text does not depend on its neighbours.

        One policy version writes all of it. `shown` keeps the text so far at hand.
        """
        self.prompt, self.seed = prompt, seed
        self.policy_version, self.params = policy_version, params
        self._meaning = meaning
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        """In nats at the sampling temperature, one for each token."""
        self.finished = False
        """The response came to its end, by the end token or a stop string."""
        self.ended = False
        """Nothing more will be written, whether it is finished or cut."""
        self.noise: np.ndarray = np.empty(0)
        """Uniform numbers, one for each token, where the engine draws from them."""
        self._detokenizer = IncrementalDetokenizer(meaning.decode) if shown or params.stop else None
        self._cut: int | None = None
        self._sent = 0

    @property
    def reach(self) -> int:
        """Positions that prompt and response may take."""
        return len(self.prompt) + self.params.max_tokens

    @property
    def next_noise(self) -> float:
        """The number that draws the next token; 0 where none is drawn."""
        index = len(self.tokens)
        return self.noise.item(index) if index < len(self.noise) else 0.0

    def take(self, token: int, logprob: float) -> None:
        """Add the next token; it may be the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.finished = token in self._meaning.stop_ids or self._stops()
        self.ended = self.finished or len(self.tokens) >= self.params.max_tokens

    def cut(self) -> None:
        """Write no more, although it is not finished."""
        self.ended = True

    def text(self) -> str:
        """Return the response, without the stop string that ended it."""
        if self._cut is not None and self._detokenizer is not None:
            return self._detokenizer.text[: self._cut]
        return self._meaning.decode(self.tokens)

    def piece(self) -> str:
        """Return what can be shown now and was not before; nothing in it will be taken back."""
        if self.ended:
            safe = self.text()
        else:
            safe = self._detokenizer.text if self._detokenizer is not None else ""
            safe = safe[: len(safe) - _begun(safe, self.params.stop)]
        piece, self._sent = safe[self._sent :], max(self._sent, len(safe))
        return piece

    def _stops(self) -> bool:
        if self._detokenizer is None:
            return False
        before = len(self._detokenizer.text)
        self._detokenizer.grow(self.tokens)
        text = self._detokenizer.text
        places = [text.find(stop, max(0, before - len(stop) + 1)) for stop in self.params.stop]
        self._cut = min((place for place in places if place >= 0), default=None)
        return self._cut is not None


class IncrementalDetokenizer:
    """The text of growing tokens, without an unfinished character at its end.

    Only the newest tokens are decoded, together with those before them, since a token's text depends on its neighbour.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]):
        self._decode = decode
        self.text = ""
        self._start = self._end = 0

    def grow(self, tokens: Sequence[int]) -> None:
        known = self._decode(tokens[self._start : self._end])
        now = self._decode(tokens[self._start :])
        if len(now) > len(known) and not now.endswith(HALF_CHARACTER):
            self.text += now[len(known) :]
            self._start, self._end = self._end, len(tokens)


def _begun(text: str, stops: Sequence[str]) -> int:
    """Characters at the end of the text that may turn out to begin a stop string."""
    lengths = (n for stop in stops for n in range(1, len(stop)) if text.endswith(stop[:n]))
    return max(lengths, default=0)
