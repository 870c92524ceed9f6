"""One response while it is written: its tokens, where it ends, and the text that may be shown so far."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

HALF_CHARACTER = "\ufffd"
"""What the bytes of an unfinished character decode to."""


class Ask(NamedTuple):
    """What is to be written: the row's own `seed` fixes its noise, so its text does not depend on its neighbours."""

    policy: str
    """The version that writes all of it."""
    prompt: tuple[int, ...]
    seed: int
    temperature: float
    """0 takes the likeliest token."""
    max_tokens: int
    stop: tuple[str, ...] = ()
    """Strings that end the response; the text is cut before the first one."""


class Speech(NamedTuple):
    """What tokens mean."""

    decode: Callable[[Sequence[int]], str]
    stop_ids: Collection[int]


class Writing:
    """A row on its way through an engine, which hands it one token after another."""

    def __init__(self, ask: Ask, speech: Speech, shown: bool = False):
        """`shown` keeps the text so far at hand."""
        self.ask, self._speech = ask, speech
        self.tokens: list[int] = []
        self.logprobs: list[float] = []
        """In nats at the sampling temperature, one for each token."""
        self.finished = False
        """The response came to its end, by the end token or a stop string."""
        self.ended = False
        """Nothing more will be written, whether it is finished or cut."""
        self.noise: np.ndarray = np.empty(0)
        """Uniform numbers, one for each token, where the engine draws from them."""
        self._unfolding = Unfolding(speech.decode) if shown or ask.stop else None
        self._cut: int | None = None
        self._sent = 0

    @property
    def reach(self) -> int:
        """Positions that prompt and response may take."""
        return len(self.ask.prompt) + self.ask.max_tokens

    def take(self, token: int, logprob: float) -> None:
        """The next token; it may be the last one."""
        self.tokens.append(token)
        self.logprobs.append(logprob)
        self.finished = token in self._speech.stop_ids or self._stops()
        self.ended = self.finished or len(self.tokens) >= self.ask.max_tokens

    def cut(self) -> None:
        """Write no more, although it is not finished."""
        self.ended = True

    def text(self) -> str:
        """The response, without the stop string that ended it."""
        if self._cut is not None and self._unfolding is not None:
            return self._unfolding.text[: self._cut]
        return self._speech.decode(self.tokens)

    def piece(self) -> str:
        """What can be shown now and was not before; nothing in it will be taken back."""
        if self.ended:
            safe = self.text()
        else:
            safe = self._unfolding.text if self._unfolding is not None else ""
            safe = safe[: len(safe) - _begun(safe, self.ask.stop)]
        piece, self._sent = safe[self._sent :], max(self._sent, len(safe))
        return piece

    def _stops(self) -> bool:
        if self._unfolding is None:
            return False
        before = len(self._unfolding.text)
        self._unfolding.grow(self.tokens)
        text = self._unfolding.text
        places = [text.find(stop, max(0, before - len(stop) + 1)) for stop in self.ask.stop]
        self._cut = min((place for place in places if place >= 0), default=None)
        return self._cut is not None


class Unfolding:
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
