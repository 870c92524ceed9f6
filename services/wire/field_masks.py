"""Field masks: what to send of a resource, and what to change on it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from rlhf_core.errors import InvalidInput, Violation, suggestion

ALL = "*"

M = TypeVar("M", bound=Message)


def read(messages: Iterable[M], mask: FieldMask, kind: type[M]) -> list[M]:
    """Return the messages with the fields of the mask alone; no mask, or `*`, means all of them.

    Raises InvalidInput with every path that the messages do not have.
    """
    _check(mask, kind(), "read_mask")
    if not mask.paths or ALL in mask.paths:
        return list(messages)
    return [_part(message, mask) for message in messages]


def changed(mask: FieldMask, message: Message, allowed: Sequence[str]) -> list[str]:
    """Return the fields that an update changes: those of the mask; without one those of `allowed` that are set.

    Raises InvalidInput for paths that are none of the message's, or that only the server writes.
    """
    _check(mask, message, "update_mask")
    paths = list(allowed) if ALL in mask.paths else list(dict.fromkeys(mask.paths))
    fixed = [path for path in paths if path not in allowed]
    if fixed:
        raise InvalidInput(
            f"update_mask: {', '.join(fixed)} cannot be changed; allowed: {', '.join(allowed)}", "update_mask"
        )
    return paths or [name for name in allowed if getattr(message, name)]


def _check(mask: FieldMask, message: Message, field: str) -> None:
    descriptor: Any = message.DESCRIPTOR
    unknown = [p for p in mask.paths if p != ALL and not FieldMask(paths=[p]).IsValidForDescriptor(descriptor)]
    if unknown:
        names = [known.name for known in descriptor.fields]
        told = [f"{field}: no field '{path[:100]}'; {suggestion(path, names)}" for path in unknown]
        raise InvalidInput(told[0], field, violations=[Violation(field, text) for text in told])


def _part(message: M, mask: FieldMask) -> M:
    part = type(message)()
    mask.MergeMessage(message, part)
    return part
