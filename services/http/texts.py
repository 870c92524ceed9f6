"""Conversations as others send them: text, chat messages, or a text that a chat template has written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from charter.v1 import common_pb2
from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from rlhf_core.config.base import numbers_only
from rlhf_core.errors import InvalidInput
from rlhf_core.records.samples import Message
from services.wire import enums

if TYPE_CHECKING:
    from rlhf_core.models.transcripts import Transcript, Transcripts

FOREIGN = re.compile(r"<\|[\w-]+\|>|<start_of_turn>|\[/?INST\]|<｜[^｜]{1,40}｜>")
"""What the templates of well-known models write, and people do not."""


ENDS = re.compile(r"(?:\s*(?:<\|[\w-]+\|>|</s>|<eos>|<end_of_turn>))+\s*\Z")
TEXT_PARTS = ("text", "input_text", "output_text")


class Shape(BaseModel):
    """What a request may hold; what it does not name is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    _numbers_only = field_validator("*", mode="before")(classmethod(numbers_only))


class Turn(BaseModel):
    """One message. Who sends more than words, such as tool calls or images, is told so."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Literal["system", "developer", "user", "assistant"]
    content: str

    @model_validator(mode="before")
    @classmethod
    def _without_what_is_empty(cls, given: Any) -> Any:
        """A client that sends an answer back sends its empty fields too."""
        if not isinstance(given, dict):
            return given
        return {key: value for key, value in given.items() if key == "content" or value not in (None, [], {})}

    @field_validator("content", mode="before")
    @classmethod
    def _words(cls, content: Any) -> Any:
        """A list of parts that are text is one text."""
        return joined(content) if isinstance(content, list) else content


def joined(parts: Sequence[Any]) -> str:
    """Join the text of content parts. ValueError for one that is not text."""
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in TEXT_PARTS or not isinstance(part.get("text"), str):
            raise ValueError(f"a part of type {str(kind)[:40]!r} is not text; allowed: {', '.join(TEXT_PARTS)}")
    return "".join(part["text"] for part in parts)


def prompt_of(turns: str | Sequence[Turn]) -> common_pb2.Prompt:
    """Read a prompt as the contract has it; plain text is one turn of the user's."""
    if isinstance(turns, str):
        return common_pb2.Prompt(text=turns)
    messages = []
    for turn in turns:
        role = "system" if turn.role == "developer" else turn.role
        messages.append(common_pb2.Message(role=enums.number(enums.ROLES, role), content=turn.content))
    return common_pb2.Prompt(messages=messages)


class Reader:
    """Reads texts that a trainer has written by its model's chat template, where that is the served model's too."""

    def __init__(self, base_model: str, transcripts: Transcripts | None):
        self._base, self._transcripts = base_model, transcripts

    def prompt(self, text: str, field: str) -> common_pb2.Prompt:
        """Read a prompt, rendered or not. Raises InvalidInput for one that another template has written."""
        read = self._read(text, field)
        if read is None:
            if marker := FOREIGN.search(text):
                raise self._unread(field, marker[0])
            return common_pb2.Prompt(text=text)
        if read.reply:
            raise InvalidInput(f"{field}: the prompt ends with words of the assistant's", field)
        return _prompt_of(read.messages)

    def conversation(self, text: str, field: str) -> tuple[common_pb2.Prompt, str]:
        """Read a rendered prompt with its reply."""
        read = self._read(text, field)
        if read is None or read.reply is None:
            raise self._unread(field)
        return _prompt_of(read.messages), read.reply

    def reply(self, text: str) -> str:
        """Split off the token that ends a reply, ours or another model's, and what follows that."""
        return ENDS.sub("", text.partition(self._transcripts.end)[0] if self._transcripts else text)

    def _read(self, text: str, field: str) -> Transcript | None:
        read = self._transcripts.read(text) if self._transcripts else None
        for turn in read.messages if read else ():
            if marker := FOREIGN.search(turn.content):
                raise self._unread(field, marker[0])
        return read

    def _unread(self, field: str, marker: str = "") -> InvalidInput:
        why = f"it has '{marker}' where words should be" if marker else "it has no turns of the user and the assistant"
        return InvalidInput(
            f"{field}: not a conversation as the chat template of '{self._base}' writes it: {why}",
            field,
            hint="let the trainer use that template, or send the turns as messages to /v1/score",
        )


def _prompt_of(messages: Sequence[Message]) -> common_pb2.Prompt:
    return prompt_of([Turn(role=message.role, content=message.content) for message in messages])
