"""Tokens as text, and text as a number of tokens: on the thread that owns the model, as its tokenizer is its own."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from charter.v1 import common_pb2

from rlhf_core.inference.sequence import HALF_CHARACTER
from rlhf_core.records.samples import Message
from services.serving.executor import Executor
from services.wire.samples import prompt_from_message


class Tokenizer(Protocol):
    """What is asked of the base model."""

    @property
    def stop_ids(self) -> Collection[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...

    def render(self, messages: Sequence[Message]) -> list[int]: ...


class Vocabulary:
    def __init__(self, tokenizer: Tokenizer, executor: Executor):
        self._tokenizer, self._executor = tokenizer, executor

    async def prompt_tokens(self, prompt: common_pb2.Prompt) -> int:
        """Count the tokens that the model reads before it answers."""
        messages = prompt_from_message(prompt).messages
        return len(await self._executor.run(self._tokenizer.render, messages))

    async def texts(self, ids: Sequence[int], before: Sequence[int] = ()) -> list[str | None]:
        """Return the text of each token, as it stands behind the ones before it; None for the end of a reply."""
        return await self._executor.run(self._texts, ids, before)

    def _texts(self, ids: Sequence[int], before: Sequence[int]) -> list[str | None]:
        texts: list[str | None] = []
        known = list(before[-1:])
        for token in ids:
            if token in self._tokenizer.stop_ids:
                texts.append(None)
                continue
            # Behind its neighbour, as some tokens begin with a space only there.
            texts.append(self._tokenizer.decode([*known, token])[len(self._tokenizer.decode(known)) :])
            known = [token]
        return texts


def bytes_of(text: str) -> list[int] | None:
    """Return a token's bytes; none for a part of a character, whose bytes the text does not tell."""
    return None if HALF_CHARACTER in text else list(text.encode())
