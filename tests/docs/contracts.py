"""The gRPC contracts as a page: what protoc reads from proto/, comments and all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)
from grpc_tools import protoc

from tests.docs.settings import ROOT, wrapped

ORDER = ("policy", "critique", "preference", "assessment", "reward", "trainer", "dataset", "server", "common")
MESSAGE, ENUM, SERVICE, METHOD, FIELD, VALUE, INNER_ENUM = 4, 5, 6, 2, 2, 2, 4
"""Numbers of these lists in descriptor.proto: a place in a file is a path of them and of positions."""

INTRO = """\
# gRPC reference

Made by `make docs` from [`proto/charter/v1`](../proto/charter/v1). Every server offers ServerService, health and, where
no other machine reaches it, reflection; `charter serve --only` says which of the others. `charter call` lists and calls
any method from a shell:

```sh
charter call
charter call charter.v1.PolicyService/Generate -d '{"prompts": [{"text": "How do I unclog the drain?"}]}'
```

Errors carry `google.rpc.ErrorInfo` with a stable reason; with it `BadRequest` names the fields at fault by their dotted
paths, and `RetryInfo` says when to try again. [Troubleshooting](troubleshooting.md) explains the reasons.
"""


class File(NamedTuple):
    """One proto file, with the comment of each place in it."""

    proto: FileDescriptorProto
    comments: dict[tuple[int, ...], str]


def files() -> dict[str, File]:
    """Short name of each contract -> its file."""
    paths = sorted((ROOT / "proto/charter/v1").glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "set.binpb"
        include = [f"-I{ROOT / 'proto'}", f"-I{resources.files('grpc_tools') / '_proto'}"]
        made = protoc.main(["protoc", *include, "--include_source_info", f"-o{out}", *map(str, paths)])
        if made:
            raise SystemExit("protoc cannot read the contracts")
        found = FileDescriptorSet.FromString(out.read_bytes())
    return {Path(file.name).stem: File(file, _comments(file)) for file in found.file}


def _comments(file: FileDescriptorProto) -> dict[tuple[int, ...], str]:
    return {
        tuple(place.path): " ".join(place.leading_comments.split())
        for place in file.source_code_info.location
        if place.leading_comments
    }


def _name(type_name: str) -> str:
    """A type as the page calls it: ours by a link to its heading."""
    ours = type_name.removeprefix(".charter.v1.")
    return f"[`{ours}`](#{ours.lower().replace('.', '')})" if ours != type_name else f"`{type_name.lstrip('.')}`"


def _plain(field: FieldDescriptorProto) -> str:
    kind = FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    return _name(field.type_name) if field.type_name else f"`{kind}`"


def _kind(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    """As in `repeated Sample`, `map of string to double`, `optional bool`."""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            return f"map of {_plain(nested.field[0])} to {_plain(nested.field[1])}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {_plain(field)}"
    if field.proto3_optional:
        return f"optional {_plain(field)}"
    within = f", one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else ""
    return f"{_plain(field)}{within}"


def _services(file: File) -> Iterator[str]:
    for i, service in enumerate(file.proto.service):
        yield f"## {service.name}"
        yield wrapped(file.comments.get((SERVICE, i), ""))
        lines = []
        for j, method in enumerate(service.method):
            asked = f"{'stream of ' if method.client_streaming else ''}{_name(method.input_type)}"
            answer = f"{'stream of ' if method.server_streaming else ''}{_name(method.output_type)}"
            said = file.comments.get((SERVICE, i, METHOD, j), "")
            lines.append(wrapped(f"- **{method.name}** ({asked} to {answer}) {said}", "  "))
        yield "\n".join(lines)


def _messages(file: File) -> Iterator[str]:
    for i, message in enumerate(file.proto.message_type):
        yield f"### {message.name}"
        yield wrapped(file.comments.get((MESSAGE, i), ""))
        yield "\n".join(
            wrapped(f"- `{field.name}` ({_kind(field, message)}) {file.comments.get((MESSAGE, i, FIELD, j), '')}", "  ")
            for j, field in enumerate(message.field)
        )
        for k, enum in enumerate(message.enum_type):
            yield from _enum(file, enum, f"{message.name}.{enum.name}", (MESSAGE, i, INNER_ENUM, k))
    for i, enum in enumerate(file.proto.enum_type):
        yield from _enum(file, enum, enum.name, (ENUM, i))


def _enum(file: File, enum: EnumDescriptorProto, name: str, place: tuple[int, ...]) -> Iterator[str]:
    yield f"### {name}"
    yield wrapped(file.comments.get(place, ""))
    yield "\n".join(
        wrapped(f"- `{value.name}` ({value.number}) {file.comments.get((*place, VALUE, j), '')}", "  ")
        for j, value in enumerate(enum.value)
    )


def grpc_page() -> str:
    """All services, then the records that they share."""
    found = files()
    blocks = [INTRO.rstrip()]
    for name in (*ORDER, *sorted(found.keys() - set(ORDER))):
        file = found[name]
        blocks += _services(file) if file.proto.service else ["## Shared records"]
        blocks += _messages(file)
    return "\n\n".join(filter(None, blocks)) + "\n"
