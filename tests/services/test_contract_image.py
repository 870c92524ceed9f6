"""The contract of the last release still holds: also where there is no npm for `make contracts`."""

from __future__ import annotations

from pathlib import Path

import pytest
from charter.v1 import (
    assessment_pb2,
    common_pb2,
    critique_pb2,
    dataset_pb2,
    exploration_pb2,
    policy_pb2,
    preference_pb2,
    reward_pb2,
    server_pb2,
    trainer_pb2,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

PROTO = Path(__file__).parents[2] / "proto"
IMAGE = PROTO / "charter-v1.binpb"
MODULES = (
    *(assessment_pb2, common_pb2, critique_pb2, dataset_pb2, exploration_pb2, policy_pb2, preference_pb2),
    *(reward_pb2, server_pb2, trainer_pb2),
)


def promises(files: list[FileDescriptorProto]) -> set[str]:
    """What callers rely on, a line each: fields with number and type, values, methods with their messages."""
    lines: set[str] = set()
    for file in files:
        for message in file.message_type:
            lines |= _of_message(message, file.package)
        for enum in file.enum_type:
            lines |= {f"{enum.name}.{value.name} = {value.number}" for value in enum.value}
        for service in file.service:
            for method in service.method:
                asked, told = ("stream " * streams for streams in (method.client_streaming, method.server_streaming))
                lines.add(f"{service.name}.{method.name}({asked}{method.input_type}) -> {told}{method.output_type}")
    return lines


def _of_message(message: DescriptorProto, outer: str) -> set[str]:
    name = f"{outer}.{message.name}"
    lines = {
        f"{name}.{f.name} = {f.number}: {f.label} {f.type} {f.type_name} {f.proto3_optional}" for f in message.field
    }
    return lines.union(*(_of_message(nested, name) for nested in message.nested_type))


def released() -> list[FileDescriptorProto]:
    return [file for file in FileDescriptorSet.FromString(IMAGE.read_bytes()).file if file.package == "charter.v1"]


def current() -> list[FileDescriptorProto]:
    files = []
    for module in MODULES:
        files.append(FileDescriptorProto())
        module.DESCRIPTOR.CopyToProto(files[-1])
    return files


def test_nothing_that_was_released_is_taken_back():
    assert {path.stem for path in (PROTO / "charter" / "v1").glob("*.proto")} == {
        module.__name__.rpartition(".")[2].removesuffix("_pb2") for module in MODULES
    }
    assert len(promises(released())) > 400
    assert promises(released()) - promises(current()) == set()


@pytest.mark.parametrize("change", ["field", "number", "type", "method", "value"])
def test_what_is_taken_back_is_found(change: str):
    files = current()
    trainer = next(file for file in files if file.name.endswith("trainer.proto"))
    run = next(message for message in trainer.message_type if message.name == "Run")
    if change == "field":
        del run.field[3]
    elif change == "number":
        run.field[3].number = 99
    elif change == "type":
        run.field[3].type = run.field[6].type
    elif change == "method":
        del trainer.service[0].method[0]
    else:
        del trainer.enum_type[0].value[2]
    assert len(promises(released()) - promises(files)) == 1
