"""What one request may ask for, and how many calls are taken at once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

from charter.v1 import common_pb2, policy_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from pydantic import Field

from rlhf_core.config.base import Settings
from rlhf_core.errors import Exhausted, InvalidInput

MAX_NAME = 1000
"""Characters of an id, a name or a tag."""
NAMES = frozenset(
    (
        *("id", "labeler", "objective", "policy_version", "constitution", "name", "source", "tags", "stage"),
        *("page_token", "reward_models", "principle_ids", "critic", "judge", "protocol"),
        *("sha256", "versions_of"),
    )
)
CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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
    dataset_bytes: int = Field(default=2**30, ge=1)
    """Largest file that may be uploaded as a dataset."""
    calls: int = Field(default=512, ge=1)
    """Calls at work at once; health is always answered."""
    calls_per_client: int = Field(default=256, ge=1)
    """Calls at work at once of one token, or without tokens of one host."""
    waiting_rows: int = Field(default=4096, ge=1)
    """Rows that may wait for the model to score, and as many to be written, to criticise, and to compare."""


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
        """Admit one call of this client while the block lasts. Raises Exhausted when there are too many."""
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
    """Refuse a request whose lists or texts are too long, by an InvalidInput that names the first."""
    _check(request, "", limits)
    if isinstance(request, policy_pb2.GenerateRequest):
        prompts, n = len(request.prompts), request.n
        if prompts * n > limits.responses:
            text = f"n: {n} responses to each of {prompts} prompts; allowed: {limits.responses} in one call"
            raise InvalidInput(text, "n")


class _Part(NamedTuple):
    """A field that holds texts or messages; numbers need no look."""

    name: str
    many: bool
    is_map: bool
    is_text: bool
    is_name: bool


@cache
def _parts(kind: Descriptor) -> tuple[_Part, ...]:
    parts = []
    for field in kind.fields:
        is_text, inside = field.type == FieldDescriptor.TYPE_STRING, field.message_type
        if is_text or inside is not None or field.is_repeated:
            is_map = inside is not None and inside.GetOptions().map_entry
            is_name = is_text and (field.name in NAMES or field.name.endswith("_id"))
            parts.append(_Part(field.name, field.is_repeated, is_map, is_text, is_name))
    return tuple(parts)


def _check(message: Message, path: str, limits: Limits) -> None:
    for part in _parts(message.DESCRIPTOR):
        value, place = getattr(message, part.name), f"{path}{part.name}"
        if part.many:
            _bound(len(value), limits.items, "items", place)
            if part.is_map or not len(value):
                continue
            if part.is_text:
                for index, text in enumerate(value):
                    _check_text(text, part, f"{place}[{index}]", limits)
            elif isinstance(value[0], Message):
                for index, item in enumerate(value):
                    _check(item, f"{place}[{index}].", limits)
        elif part.is_text:
            _check_text(value, part, place, limits)
        elif message.HasField(part.name):
            _check(value, f"{place}.", limits)
    if isinstance(message, common_pb2.Prompt):
        _bound(
            sum(len(turn.content) for turn in message.messages), limits.text_characters, "characters", f"{path}messages"
        )


def _check_text(text: str, part: _Part, place: str, limits: Limits) -> None:
    _bound(len(text), MAX_NAME if part.is_name else limits.text_characters, "characters", place)
    if part.is_name and CONTROL.search(text):
        raise InvalidInput(f"{place}: {text!r} holds a control character; allowed: plain text", place)


def _bound(size: int, most: int, unit: str, place: str) -> None:
    if size > most:
        raise InvalidInput(f"{place}: {size} {unit}; allowed: at most {most}", place)
