"""What nothing may be trained on: whatever asks a held-out prompt, known by its words, not by its file or spelling."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple, Protocol, TypeVar

from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message, Prompt


class AsksPrompt(Protocol):
    """An example of any kind: a demonstration, a label."""

    @property
    def prompt(self) -> Prompt: ...


T = TypeVar("T", bound=AsksPrompt)


class HeldOut(NamedTuple):
    """The conversations that the held-out prompts are, normalised."""

    texts: frozenset[str]

    @classmethod
    def of(cls, prompts: Iterable[Prompt]) -> HeldOut:
        return cls(frozenset(normalised(prompt.messages) for prompt in prompts))

    def asks(self, prompt: Prompt) -> bool:
        """Tell whether the prompt is a held-out one, or goes on from one."""
        return bool(self.texts) and any(text in self.texts for text in _beginnings(prompt.messages))

    def kept_out(self, examples: Sequence[T]) -> list[T]:
        """Return the examples that may be trained on."""
        return [example for example in examples if not self.asks(example.prompt)]

    def refuse_all(self, found: Collection[object], left: Collection[object], what: str, field: str = "") -> None:
        """Raise InvalidInput where there were examples, and all of them ask held-out prompts."""
        if found and not left:
            raise InvalidInput(
                f"{what}: all {len(found)} ask held-out prompts, so nothing is left to train on; give other rows, or "
                "held-out prompts of their own in data.heldout_prompts",
                field,
            )


def normalised(messages: Sequence[Message]) -> str:
    """Strip a conversation's text of what tells no two questions apart: Unicode forms, case and white space.

    Nor does a system message: the same question under another one is the same question.
    """
    turns = (f"{message.role}: {message.content}" for message in messages if message.role != "system")
    return " ".join(unicodedata.normalize("NFKC", " ".join(turns)).casefold().split())


def _beginnings(messages: Sequence[Message]) -> Iterator[str]:
    for end, message in enumerate(messages, start=1):
        if message.role == "user":
            yield normalised(messages[:end])
