"""What one request may ask for, and how many calls are taken at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from pydantic import Field

from rlhf_core.backends import Settings
from rlhf_core.errors import Exhausted, InvalidInput

MAX_NAME = 1000
"""Characters of an id, a name or a tag."""
NAMES = frozenset(
    (
        *("id", "labeler", "objective", "policy_version", "constitution", "name", "source", "tags", "stage"),
        *("page_token", "reward_models", "principle_ids", "critic", "judge", "protocol"),
    )
)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")
PROMPT = "charter.v1.Prompt"


class Limits(Settings):
    """Bounds that hold for every method."""

    message_bytes: int = Field(default=16 * 2**20, ge=4096, le=2**30)
    """Largest request and answer."""
    text_characters: int = Field(default=400_000, ge=1)
    """Longest text of a request: a response or a document, or all turns of one prompt together."""
    items: int = Field(default=10_000, ge=1)
    """Most entries of one list of a request: prompts, samples, comparisons."""
    responses: int = Field(default=10_000, ge=1)
    """Most responses that one call may ask for: prompts times n."""
    calls: int = Field(default=512, ge=1)
    """Calls at work at once; health is always answered."""
    calls_per_client: int = Field(default=256, ge=1)
    """Calls at work at once of one token, or without tokens of one host."""


class Turnstile:
    """Counts the calls at work, in all and of each client."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._inside: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        return self._inside.total()

    @contextmanager
    def entered(self, client: str) -> Iterator[None]:
        """One call of this client, while the block lasts. Raises Exhausted when there are too many."""
        if self.inside >= self._limits.calls:
            raise Exhausted(f"the server has {self.inside} calls at work and takes no more", retry_seconds=1)
        if self._inside[client] >= self._limits.calls_per_client:
            raise Exhausted(
                f"'{client}' has {self._inside[client]} calls at work and may have no more",
                hint="wait for some of them, or send more in one call",
                retry_seconds=0.5,
            )
        self._inside[client] += 1
        try:
            yield
        finally:
            self._inside[client] -= 1
            if not self._inside[client]:
                del self._inside[client]


def check_request(request: Message, limits: Limits) -> None:
    """InvalidInput naming the first list or text of the request that is too long."""
    _check(request, "", limits)
    if request.DESCRIPTOR.full_name == "charter.v1.GenerateRequest":
        prompts, n = len(request.prompts), request.n  # pyright: ignore[reportAttributeAccessIssue]
        if prompts * n > limits.responses:
            text = f"n: {n} responses to each of {prompts} prompts; allowed: {limits.responses} in one call"
            raise InvalidInput(text, "n")


def _check(message: Message, path: str, limits: Limits) -> None:
    for field, value in message.ListFields():
        place = f"{path}{field.name}"
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            _bound(len(value), limits.items, "entries", place)
        elif field.is_repeated:
            _bound(len(value), limits.items, "items", place)
            for index, item in enumerate(value):
                _check_value(field, item, f"{place}[{index}]", limits)
        else:
            _check_value(field, value, place, limits)
    if message.DESCRIPTOR.full_name == PROMPT:
        turns = message.messages  # pyright: ignore[reportAttributeAccessIssue]
        total = sum(len(turn.content) for turn in turns)
        _bound(total, limits.text_characters, "characters", f"{path}messages")


def _check_value(field: FieldDescriptor, value: Any, place: str, limits: Limits) -> None:
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        _check(value, f"{place}.", limits)
    elif field.type == FieldDescriptor.TYPE_STRING:
        named = field.name in NAMES or field.name.endswith("_id")
        _bound(len(value), MAX_NAME if named else limits.text_characters, "characters", place)
        if named and CONTROL.search(value):
            raise InvalidInput(f"{place}: {value!r} holds a control character; allowed: plain text", place)


def _bound(size: int, most: int, unit: str, place: str) -> None:
    if size > most:
        raise InvalidInput(f"{place}: {size} {unit}; allowed: at most {most}", place)
