"""The generated code in the tree is what the contracts generate."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from pathlib import Path

PROTO = Path(__file__).parents[2] / "proto"


def test_stubs_are_fresh(tmp_path: Path):
    protos = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    out = [f"--{kind}_out={tmp_path}" for kind in ("python", "grpc_python", "pyi")]
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", *out, *protos], check=True)
    generated = {path.relative_to(tmp_path): path.read_text() for path in tmp_path.rglob("*_pb2*")}
    committed = {
        path.relative_to(PROTO): path.read_text() for path in PROTO.rglob("*_pb2*.py*") if path.suffix != ".pyc"
    }
    assert len(generated) == 3 * len(protos)
    assert generated.keys() == committed.keys()
    assert [str(name) for name in generated if generated[name] != committed[name]] == [], "run `make proto`"


def test_every_message_field_and_method_is_explained():
    for path in sorted(PROTO.rglob("*.proto")):
        lines = [line.strip() for line in path.read_text().splitlines()]
        for before, line in pairwise(lines):
            declares = line.endswith((";", "{", "{}")) and not line.startswith(("syntax", "package", "import"))
            assert not declares or before.startswith("//"), f"{path.name}: '{line}' has no comment"
