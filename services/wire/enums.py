"""What conversion rests on: enums, times and flat messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Generic, Literal, NamedTuple, TypeVar, get_args

from charter.v1 import (
    annotation_pb2,
    assessment_pb2,
    common_pb2,
    critique_pb2,
    dataset_pb2,
    exploration_pb2,
    policy_pb2,
    preference_pb2,
    reward_pb2,
    trainer_pb2,
)
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.timestamp_pb2 import Timestamp

from rlhf_core.annotation.disagreements import DisagreementKind
from rlhf_core.annotation.flags import Kind
from rlhf_core.errors import InvalidInput
from rlhf_core.records.annotation import Standing
from rlhf_core.records.assessments import Form
from rlhf_core.records.base import RunState, RunStatus
from rlhf_core.records.datasets import DatasetFormat, Encoding
from rlhf_core.records.exploration import TermKind
from rlhf_core.records.feedback import Choice, Labelers, Verdict
from rlhf_core.records.models import Gates, QualitySource
from rlhf_core.records.samples import Role, Split

T = TypeVar("T")
Content = Literal["preferences", "demonstrations", "samples", "ratings", "rankings", "spans"]
"""What of a run is exported as a file."""


class Enum(NamedTuple, Generic[T]):
    """Our values by an enum's numbers; number 0 stands for what the contract says of UNSPECIFIED."""

    of: EnumDescriptor
    values: tuple[T, ...]

    def allowed(self, first: int) -> str:
        """Return the names of the contract, from a number on."""
        return ", ".join(self.of.values_by_number[number].name for number in range(first, len(self.values)))


ROLES: Enum[Role] = Enum(common_pb2.Role.DESCRIPTOR, ("user", "system", "user", "assistant"))
SPLITS: Enum[Split] = Enum(common_pb2.Split.DESCRIPTOR, ("train", "train", "heldout"))
FINISHED = Enum(common_pb2.FinishReason.DESCRIPTOR, (True, True, False))
VERDICTS: Enum[Verdict | None] = Enum(critique_pb2.Verdict.DESCRIPTOR, (None, *get_args(Verdict)))
CHOICES: Enum[Choice | None] = Enum(preference_pb2.Choice.DESCRIPTOR, (None, *get_args(Choice)))
FORMS: Enum[Form | None] = Enum(assessment_pb2.AssessmentForm.DESCRIPTOR, (None, *get_args(Form)))
STATES: Enum[RunState | None] = Enum(trainer_pb2.RunState.DESCRIPTOR, (None, *get_args(RunState)))
STATUSES: Enum[RunStatus | None] = Enum(trainer_pb2.RunStatus.DESCRIPTOR, (None, *get_args(RunStatus)))
GATES: Enum[Gates | None] = Enum(policy_pb2.GateState.DESCRIPTOR, (None, *get_args(Gates)))
LABEL_SOURCES: Enum[QualitySource | None] = Enum(
    reward_pb2.RewardQuality.Source.DESCRIPTOR, (None, *get_args(QualitySource))
)
LABELERS: Enum[Labelers | None] = Enum(preference_pb2.LabelerKind.DESCRIPTOR, (None, *get_args(Labelers)))
STANDINGS: Enum[Standing | None] = Enum(annotation_pb2.Standing.DESCRIPTOR, (None, *get_args(Standing)))
DISAGREEMENTS: Enum[DisagreementKind | None] = Enum(
    annotation_pb2.DisagreementKind.DESCRIPTOR, (None, *get_args(DisagreementKind))
)
FLAGS: Enum[Kind | None] = Enum(annotation_pb2.AnnotatorFlag.DESCRIPTOR, (None, *get_args(Kind)))
FORMATS: Enum[DatasetFormat | None] = Enum(dataset_pb2.DatasetFormat.DESCRIPTOR, (None, *get_args(DatasetFormat)))
CONTENTS: Enum[Content | None] = Enum(dataset_pb2.RunContent.DESCRIPTOR, (None, *get_args(Content)))
TERMS: Enum[TermKind | None] = Enum(exploration_pb2.SampleTerm.Kind.DESCRIPTOR, (None, *get_args(TermKind)))
ENCODINGS: Enum[Encoding | None] = Enum(dataset_pb2.DatasetEncoding.DESCRIPTOR, (None, *get_args(Encoding)))

REQUESTED: Enum[Literal["", "PAUSED", "CANCELLED"]] = Enum(
    trainer_pb2.RunState.DESCRIPTOR, ("", "", "", "PAUSED", "", "", "CANCELLED")
)
"""What may be asked of a run, by the number of its state."""


def number(enum: Enum[T], value: T) -> Any:
    """Return the enum number of a value: the last of its places, so that a default is written out."""
    return len(enum.values) - 1 - list(reversed(enum.values)).index(value)


def value(enum: Enum[T], place: int, field: str) -> T:
    """Return the value of an enum number; newer numbers than this server knows are refused."""
    if not 0 <= place < len(enum.values):
        raise InvalidInput(f"{field}: {place} is not a known value; allowed: {enum.allowed(0)}", field)
    return enum.values[place]


def given(enum: Enum[T | None], place: int, field: str) -> T:
    """Read an enum number as `value` does, where UNSPECIFIED is not allowed."""
    found = value(enum, place, field)
    if found is None:
        raise InvalidInput(f"{field}: not given; allowed: {enum.allowed(1)}", field)
    return found


def fields(message: ProtoMessage) -> dict[str, Any]:
    """Return the fields of a flat message by name, defaults included, less its resource name, which no record has."""
    return {field.name: getattr(message, field.name) for field in message.DESCRIPTOR.fields if field.name != "name"}


def some(messages: Sequence[T], field: str) -> Sequence[T]:
    if not messages:
        raise InvalidInput(f"{field}: give at least one", field)
    return messages


def timestamp(text: str) -> Timestamp | None:
    """Read ISO 8601 text, UTC unless it says otherwise, as a timestamp; none from none."""
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
