"""Find the field at fault in a request that protobuf cannot parse, as its own error does not name the field."""

from __future__ import annotations

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import DecodeError

from rlhf_core.errors import InvalidInput

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
MAX_DEPTH = 20


def malformed(method: str, data: bytes) -> InvalidInput:
    """Return the error for bytes that are not the request of a method like `/charter.v1.PolicyService/Generate`."""
    name = method.strip("/").replace("/", ".")
    try:
        request = descriptor_pool.Default().FindMethodByName(name).input_type
    except KeyError:
        return InvalidInput("request: these bytes are not a message", "request")
    field, reason = _fault(request, data, MAX_DEPTH)
    place = ".".join(field) or "request"
    return InvalidInput(f"{place}: {reason}; the request is not a valid {request.full_name}", place)


def subject(method: str) -> str:
    """Return what a request of this method is about: its first field."""
    try:
        fields = descriptor_pool.Default().FindMethodByName(method.strip("/").replace("/", ".")).input_type.fields
    except KeyError:
        return ""
    return fields[0].name if fields else ""


def _fault(kind: Descriptor, data: bytes, depth: int) -> tuple[list[str], str]:
    """The path of the first entry that does not parse by itself, and why."""
    position = 0
    while position < len(data):
        start = position
        try:
            tag, position = _varint(data, position)
            field = kind.fields_by_number.get(tag >> 3)
            inside, position = _skip(data, position, tag & 7)
        except ValueError as error:
            return [], f"{error} at byte {start}"
        if field is None or _parses(kind, data[start:position]):
            continue
        if field.message_type is not None and inside is not None and depth:
            below, reason = _fault(field.message_type, inside, depth - 1)
            return [field.name, *below], reason
        if field.type == FieldDescriptor.TYPE_STRING:
            return [field.name], "the text is not UTF-8"
        return [field.name], "the value cannot be read"
    return [], "the bytes cannot be read"


def _parses(kind: Descriptor, data: bytes) -> bool:
    try:
        message_factory.GetMessageClass(kind).FromString(data)
    except DecodeError:
        return False
    return True


def _skip(data: bytes, position: int, wire_type: int) -> tuple[bytes | None, int]:
    """The payload of an entry with a length, and where the next entry begins."""
    if wire_type == BYTES:
        size, position = _varint(data, position)
        if position + size > len(data):
            raise ValueError(f"an entry of {size} bytes does not fit")
        return data[position : position + size], position + size
    if wire_type == VARINT:
        return None, _varint(data, position)[1]
    if wire_type in (FIXED32, FIXED64):
        end = position + (4 if wire_type == FIXED32 else 8)
        if end > len(data):
            raise ValueError("a number is cut off")
        return None, end
    raise ValueError("an entry of a kind that proto3 does not have")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError("a number is cut off")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number is too long")
