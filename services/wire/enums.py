"""What conversion rests on: enums, times and flat messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar, get_args

from charter.v1 import common_pb2
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.timestamp_pb2 import Timestamp

from rlhf_core.errors import InvalidInput
from rlhf_core.records.base import RunState
from rlhf_core.records.feedback import Choice, Verdict
from rlhf_core.records.models import QualitySource
from rlhf_core.records.samples import Role, Split

T = TypeVar("T")

ROLES: tuple[Role, ...] = ("user", "system", "user", "assistant")
SPLITS: tuple[Split, ...] = ("train", "train", "heldout")
FINISHED = (True, True, False)
VERDICTS: tuple[Verdict | None, ...] = (None, *get_args(Verdict))
CHOICES: tuple[Choice | None, ...] = (None, *get_args(Choice))
STATES: tuple[RunState | None, ...] = (None, *get_args(RunState))
LABEL_SOURCES: tuple[QualitySource | None, ...] = (None, *get_args(QualitySource))
"""Values by enum number; number 0 stands for what the contract says of UNSPECIFIED."""

REQUESTED: tuple[Literal["", "PAUSED", "CANCELLED"], ...] = ("", "", "", "PAUSED", "", "", "CANCELLED")
"""What may be asked of a run, by the number of its state."""


def number(values: Sequence[T], value: T) -> Any:
    """The enum number of a value: the last of its places, so that a default is written out."""
    return len(values) - 1 - list(reversed(values)).index(value)


def value(values: Sequence[T], place: int, field: str) -> T:
    """The value of an enum number; newer numbers than this server knows are refused."""
    if not 0 <= place < len(values):
        raise InvalidInput(f"{field}: {place} is not a known value; allowed: 0 to {len(values) - 1}", field)
    return values[place]


def given(values: Sequence[T | None], place: int, field: str) -> T:
    """As `value`, where UNSPECIFIED is not allowed."""
    found = value(values, place, field)
    if found is None:
        raise InvalidInput(f"{field}: not given; allowed: {', '.join(str(v) for v in values[1:])}", field)
    return found


def fields(message: ProtoMessage) -> dict[str, Any]:
    """The fields of a flat message by name, defaults included, less its resource name, which no record has."""
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields if field.name != "name"}


def some(messages: Sequence[T], field: str) -> Sequence[T]:
    if not messages:
        raise InvalidInput(f"{field}: give at least one", field)
    return messages


def timestamp(text: str) -> Timestamp | None:
    """ISO 8601 text, UTC unless it says otherwise, as a timestamp; none from none."""
    if not text:
        return None
    time = datetime.fromisoformat(text)
    stamp = Timestamp()
    stamp.FromDatetime(time if time.tzinfo else time.replace(tzinfo=UTC))
    return stamp


def time_text(stamp: Timestamp) -> str:
    return stamp.ToDatetime(tzinfo=UTC).isoformat() if stamp.ByteSize() else ""


def finish_reason(finished: bool) -> common_pb2.FinishReason:
    return number(FINISHED, finished)
