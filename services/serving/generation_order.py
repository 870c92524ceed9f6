"""A call to the generation queue, between the event loop that waits for it and the model's thread that works on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.inference.sequence import SamplingParams, TokenSequence
from rlhf_core.records.samples import Prompt, Sample

QUEUE = "responses"
"""The queue's name in the metrics."""


class Answer(NamedTuple):
    """A sample with the ids of its tokens and their log-probs in nats, those of a stop string included."""

    sample: Sample
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]


class Piece(NamedTuple):
    """What has been written since the piece before, with how many tokens there are now and their log-probs' sum."""

    text: str
    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    written: int
    logprob: float
    answer: Answer | None
    """The whole response, in the last piece."""


class Order:
    """A call: what it asks for, and what the model's thread has for it. The event loop sets `news` and `gone`."""

    def __init__(self, prompts: Sequence[Prompt], policy_version: str, params: SamplingParams, shown: bool):
        """`shown` asks for pieces too."""
        self.prompts, self.shown = prompts, shown
        self.policy_version, self.params = policy_version, params
        self.news = asyncio.Event()
        self.gone = False
        self.sequences: list[TokenSequence] = []
        self.seen, self.logprob = 0, 0.0
        self.pieces: deque[Piece] = deque()
        self.answers: list[Answer] | None = None
        self.error: Exception | None = None

    @property
    def over(self) -> bool:
        """Whether the call has been answered, or has failed."""
        return self.answers is not None or self.error is not None

    async def changed(self) -> None:
        """Wait for news; raises what went wrong."""
        await self.news.wait()
        self.news.clear()
        if self.error is not None:
            raise self.error
