"""Hostile requests, drawn from the descriptors of the contract: nothing in here knows a method by name.

A third are good requests with some values replaced, a third are drawn from scratch, a third are bytes that were cut,
flipped or put together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NamedTuple

import grpc
from charter import v1
from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

DEADLINE_SECONDS = 60.0
ANSWERS = 4
"""Messages of a stream that are read before it is left."""

TEXTS: tuple[str, ...] = (
    *("", " ", "\0", "\n" * 50, "a\0b", "x" * 999, "x" * 1001, "\u202e", "🙂" * 50, "\ufeff", "\U000f0000", "é\u0301"),
    *("../../etc/passwd", "/etc/passwd", "/dev/zero", "~/.ssh/id_rsa", "file:///etc/passwd", "C:\\", "a/../b", "."),
    *(
        "latest",
        "base",
        "household",
        "assistant",
        "human:",
        "ai:judge",
        "human:ann",
        "last",
        "null",
        "True",
        "-1",
        "1e999",
    ),
    *("'; DROP TABLE runs; --", "%s%n", "{0}", "{{x}}", "${HOME}", "<|end|>", "<|user|>", "</s>", "\\", '"'),
    *(
        "{",
        "{}",
        "[]",
        "null",
        "[" * 9000,
        '{"a":' * 4000,
        '{"seed": 1e400}',
        '{"ppo": {"steps": -1}}',
        '{"seed": NaN}',
    ),
    *('{"data": {"prompts": "/etc/passwd"}}', '{"data": {"prompts": "/dev/zero"}}', '{"weights": {"x": 1e308}}'),
    *('{"seed": ' + "9" * 5000 + "}", '{"model": {"base_model": "/"}}', '{"from_run": "x"}', '{"kind": "\\ud800"}'),
    *(
        "a: &a [*a]",
        "&a [&b [*b, *b], *a]",
        "- " * 3000,
        "!!python/object:os.system x",
        "? " * 2000,
        "%YAML 9.9",
        "\t- x",
    ),
    *(
        "extends: /etc/passwd",
        "extends: [../../x.yaml]",
        "version: 1\nprinciples: 3",
        "id: x\nobjectives: {}",
        "---\n---",
    ),
)
INTS: tuple[int, ...] = (0, 1, 2, 3, -1, 7, 63, 257, 10_001, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 2**53 + 1)
FLOATS: tuple[float, ...] = (0.0, -0.0, 1.0, -1.0, 0.5, 101.0, 1e-308, 1e308, float("nan"), float("inf"), float("-inf"))


class Attack(NamedTuple):
    """One request, and the method that it is sent to."""

    method: MethodDescriptor
    data: bytes
    more: tuple[bytes, ...] = ()
    """What follows in the same call, where the method takes a stream."""

    @property
    def path(self) -> str:
        return f"/{self.method.containing_service.full_name}/{self.method.name}"


class Outcome(NamedTuple):
    """The code of a call's end, the field named, and the text."""

    code: grpc.StatusCode
    fields: tuple[str, ...]
    text: str


def methods() -> list[MethodDescriptor]:
    """All methods of the contract."""
    names = [found.name for found in iter_modules(v1.__path__) if found.name.endswith("_pb2")]
    files = [import_module(f"charter.v1.{name}").DESCRIPTOR for name in names]
    return [method for file in files for service in file.services_by_name.values() for method in service.methods]


def attacks(seed: int, good: Callable[[MethodDescriptor], list[Message]], known: tuple[str, ...]) -> Iterator[Attack]:
    """Without end, the same for each seed. `good` gives requests that would be answered, `known` names of things."""
    rng = random.Random(seed)
    offered = methods()
    while True:
        method = rng.choice(offered)
        models = good(method)
        more = rng.randrange(4) if method.client_streaming else 0
        first, *rest = (_spoilt(rng, method, models, known) for _ in range(1 + more))
        yield Attack(method, first, tuple(rest))


def _spoilt(rng: random.Random, method: MethodDescriptor, models: list[Message], known: tuple[str, ...]) -> bytes:
    kind = rng.randrange(3)
    if kind == 0 and models:
        request = _copy(rng.choice(models))
        for _ in range(rng.randint(1, 3)):
            _spoil(rng, request, known)
        return request.SerializeToString()
    drawn = message_factory.GetMessageClass(method.input_type)
    if kind == 1:
        return _drawn(rng, drawn, 4, known).SerializeToString()
    begun = rng.choice(models) if models else _drawn(rng, drawn, 4, known)
    return _mangled(rng, begun.SerializeToString())


def send(channel: grpc.Channel, attack: Attack) -> Outcome:
    """How the call ended; a stream is left after a few answers."""
    try:
        if attack.method.server_streaming:
            answers = channel.unary_stream(attack.path)(attack.data, timeout=DEADLINE_SECONDS)
            for _, _ in zip(range(ANSWERS), answers, strict=False):
                pass
            answers.cancel()
        elif attack.method.client_streaming:
            parts = iter((attack.data, *attack.more))
            channel.stream_unary(attack.path)(parts, timeout=DEADLINE_SECONDS)
        else:
            channel.unary_unary(attack.path)(attack.data, timeout=DEADLINE_SECONDS)
    except grpc.RpcError as error:
        return _outcome(error)
    return Outcome(grpc.StatusCode.OK, (), "")


def _outcome(error: Any) -> Outcome:
    status = rpc_status.from_call(error)
    request = error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        detail.Unpack(request)
    return Outcome(error.code(), tuple(v.field for v in request.field_violations), error.details() or "")


def _copy(message: Message) -> Message:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _drawn(rng: random.Random, kind: type[Message], depth: int, known: tuple[str, ...]) -> Message:
    message = kind()
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.6:
            _fill(rng, message, field, depth, known)
    return message


def _spoil(rng: random.Random, message: Message, known: tuple[str, ...]) -> None:
    """Another value in one place, at any depth."""
    field = rng.choice(message.DESCRIPTOR.fields or [None])
    if field is None:
        return
    inside = getattr(message, field.name)
    if field.message_type and not _is_map(field) and rng.random() < 0.8:
        below = rng.choice(list(inside)) if field.is_repeated and len(inside) else None if field.is_repeated else inside
        if below is not None:
            return _spoil(rng, below, known)
    _fill(rng, message, field, 3, known)


def _fill(rng: random.Random, message: Message, field: FieldDescriptor, depth: int, known: tuple[str, ...]) -> None:
    inside: Any = getattr(message, field.name)
    if _is_map(field):
        value = field.message_type.fields_by_name["value"]
        for _ in range(rng.choice((0, 1, 3))):
            if value.message_type is None:
                inside[rng.choice(TEXTS)] = _value(rng, value, known)
    elif field.message_type is not None:
        if depth and field.is_repeated:
            kind = message_factory.GetMessageClass(field.message_type)
            inside.extend(_drawn(rng, kind, depth - 1, known) for _ in range(rng.choice((0, 1, 1, 2, 5))))
        elif depth:
            inside.CopyFrom(_drawn(rng, message_factory.GetMessageClass(field.message_type), depth - 1, known))
    elif field.is_repeated:
        inside.extend(_value(rng, field, known) for _ in range(rng.choice((0, 1, 3, 200))))
    else:
        setattr(message, field.name, _value(rng, field, known))


def _value(rng: random.Random, field: FieldDescriptor, known: tuple[str, ...]) -> Any:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return rng.randbytes(rng.choice((0, 1, 100)))
        case FieldDescriptor.CPPTYPE_STRING:
            return rng.choice(known) if rng.random() < 0.3 else rng.choice(TEXTS)
        case FieldDescriptor.CPPTYPE_BOOL:
            return rng.random() < 0.5
        case FieldDescriptor.CPPTYPE_FLOAT | FieldDescriptor.CPPTYPE_DOUBLE:
            return rng.choice(FLOATS)
        case FieldDescriptor.CPPTYPE_INT32:
            return rng.choice([value for value in INTS if abs(value) < 2**31])
        case FieldDescriptor.CPPTYPE_INT64:
            return rng.choice(INTS)
        case FieldDescriptor.CPPTYPE_ENUM:
            return rng.choice((0, 1, 2, 3, 99, -1))
        case _:
            return abs(rng.choice(INTS)) % 2**32


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _mangled(rng: random.Random, data: bytes) -> bytes:
    for _ in range(rng.randint(1, 4)):
        place = rng.randint(0, len(data))
        match rng.randrange(5):
            case 0:
                data = data[:place]
            case 1:
                data = data[:place] + rng.randbytes(rng.choice((1, 2, 8))) + data[place:]
            case 2 if data:
                place = min(place, len(data) - 1)
                data = data[:place] + bytes([data[place] ^ 1 << rng.randrange(8)]) + data[place + 1 :]
            case 3:
                data = data[:place] + data[place : place + 40] * rng.choice((2, 3, 50)) + data[place + 40 :]
            case _:
                data = rng.randbytes(rng.choice((0, 1, 20, 1000)))
    return data
