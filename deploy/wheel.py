"""The wheel's layout: everything lies in the package `charter`, so that a wheel takes no other name on a machine.

In the repository `services`, `rlhf_core` and `constitutions` stand at the top. In a project that has a package
`services` of its own they would hide one another, so the wheel holds them as `charter.services` and so on, and each
import of theirs says so. An editable install leaves all where it is.
"""

from __future__ import annotations

import ast
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "charter"
INNER = ("constitutions", "rlhf_core", "services")
IMPORTS = re.compile(rf"^(\s*)from ({'|'.join(INNER)})(?=[. ])", re.MULTILINE)
WHOLE = re.compile(rf"^(\s*)import ({'|'.join(INNER)})$", re.MULTILINE)
NAMED = re.compile(rf"({'|'.join(INNER)})(\.[a-z_]+)+(:\w+)?")
"""A module, or something in one, by its name in a string."""


class Wheel(BuildHookInterface):
    """Puts the inner packages into the wheel, with their imports moved."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        self._folder = tempfile.mkdtemp()
        for name in (*INNER, "proto/charter"):
            target = Path(self._folder, name)
            shutil.copytree(Path(self.root, name), target, ignore=shutil.ignore_patterns("__pycache__"))
            for file in target.rglob("*.py"):
                file.write_text(moved(file.read_text(encoding="utf-8"), str(file)), encoding="utf-8")
            build_data["force_include"][str(target)] = PACKAGE if name.startswith("proto") else f"{PACKAGE}/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_folder", ""), ignore_errors=True)


def moved(code: str, place: str) -> str:
    """Return the code with each import of an inner package taken from `charter`.

    ValueError for one that is written in another way than `from services.x import y` or `import services`, and for a
    module that a string names, which would be sought where it no longer is.
    """
    code = IMPORTS.sub(rf"\1from {PACKAGE}.\2", code)
    code = WHOLE.sub(rf"\1from {PACKAGE} import \2", code)
    for node in ast.walk(ast.parse(code)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
        for name in names:
            if name.partition(".")[0] in INNER:
                raise ValueError(f"{place}:{node.lineno}: write 'from {name} import ...', so that a wheel can move it")
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and NAMED.fullmatch(node.value):
            told = "begin it with '{__package__}', so that a wheel can move it"
            raise ValueError(f"{place}:{node.lineno}: '{node.value}' names a module; {told}")
    return code
