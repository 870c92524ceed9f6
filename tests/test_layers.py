"""Who may import whom. Every import counts, those inside functions too; each rule is tried on a planted violation."""

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 45

LAYERS: tuple[set[str], ...] = (
    {
        "rlhf_core",
        "rlhf_core.errors",
        "rlhf_core.intervals",
        "rlhf_core.records",
        "rlhf_core.run_records",
        "rlhf_core.backends",
        "rlhf_core.defaults",
        "rlhf_core.limits",
        "rlhf_core.dial",
        "rlhf_core.ppo_config",
        "rlhf_core.reward_config",
        "rlhf_core.reward_records",
        "rlhf_core.labels",
        "rlhf_core.jsonl",
        "rlhf_core.conversations",
        "rlhf_core.config",
        "rlhf_core.seams",
    },
    {"rlhf_core.constitution", "rlhf_core.models", "rlhf_core.store", "rlhf_core.data", "rlhf_core.wording"},
    {"rlhf_core.feedback", "rlhf_core.training", "rlhf_core.evaluation"},
    {"rlhf_core.stages", "rlhf_core.effects", "rlhf_core.sandbox"},
    {"rlhf_core.pipeline"},
    {"services"},
)
"""A unit imports itself and units of the layers above it in this list, never a neighbour."""
LENT = {("rlhf_core.seams", "rlhf_core.constitution.schema")}
"""The seams speak of principles."""

TORCH = ("torch", "transformers", "peft", "safetensors", "tokenizers")
WIRE = ("services", "grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "charter")
SQLITE = ("sqlite3", "sqlite_utils")

MATHS = ("ppo", "advantages", "objectives", "preference")

FORBIDDEN = (
    ("rlhf_core", (), WIRE),
    ("*", ("rlhf_core.store",), SQLITE),
    ("rlhf_core", ("rlhf_core.sandbox", "rlhf_core.pipeline"), ("rlhf_core.sandbox",)),
    *((f"rlhf_core.training.{name}", (), ("rlhf_core", "services")) for name in MATHS),
    ("services.*_service", (), ("services.*_service",)),
)  # fmt: skip
"""(who, except whom, may not import what): names stand for themselves and all below them, `*` for any text."""

WITHOUT_TORCH = (
    *(
        "rlhf_core.errors",
        "rlhf_core.intervals",
        "rlhf_core.records",
        "rlhf_core.run_records",
        "rlhf_core.backends",
        "rlhf_core.defaults",
        "rlhf_core.limits",
        "rlhf_core.dial",
        "rlhf_core.ppo_config",
        "rlhf_core.reward_config",
        "rlhf_core.reward_records",
        "rlhf_core.labels",
        "rlhf_core.jsonl",
        "rlhf_core.conversations",
        "rlhf_core.config",
        "rlhf_core.seams",
        "rlhf_core.data",
        "rlhf_core.wording",
    ),
    *("rlhf_core.constitution", "rlhf_core.feedback", "rlhf_core.store", "rlhf_core.effects"),
    *("services.*_service", "services.convert*", "services.*client*", "services.server"),
)
"""These import no torch, not even through a module of ours."""


class Import(NamedTuple):
    name: str
    line: int
    lazy: bool
    """Inside a function or for type checkers only, so that importing the module does not run it."""


def imports(source: str) -> list[Import]:
    return list(_imports(ast.parse(source), lazy=False))


def _imports(node: ast.AST, lazy: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = lazy or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            inside = True
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = "." * child.level + (child.module or "")
            yield from (Import(f"{module}.{alias.name}", child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).endswith(("import_module", "__import__")):
            names = [argument.value for argument in child.args[:1] if isinstance(argument, ast.Constant)]
            yield from (Import(str(name), child.lineno, inside) for name in names)
        yield from _imports(child, inside)


def is_in(name: str, patterns: tuple[str, ...] | set[str]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name, f"{pattern}.*") for pattern in patterns)


def unit(name: str) -> str:
    """The folder or single file of the core that a module lies in; the services are one unit."""
    parts = name.split(".")
    if parts[0] != "rlhf_core":
        return parts[0]
    known = {unit for layer in LAYERS for unit in layer}
    return (
        "rlhf_core"
        if len(parts) == 2 and name not in known and name.startswith("rlhf_core.__")
        else ".".join(parts[:2])
    )


def layer(name: str) -> int | None:
    return next((rank for rank, units in enumerate(LAYERS) if unit(name) in units), None)


def may_import(name: str, target: str) -> bool:
    if is_in(target, ("rlhf_core", "services")):
        own, other = layer(name), layer(target)
        lent = any(unit(name) == user and is_in(target, {thing}) for user, thing in LENT)
        below = own is not None and other is not None and (other < own or own == other == 0)
        return lent or below or unit(name) == unit(target)
    return not target.startswith(".")


def wrong_arrows(modules: dict[str, str]) -> list[str]:
    """Imports against the layers, relative imports, and units without a place in them."""
    homeless = [f"{name} has no place in the layers" for name in modules if layer(name) is None]
    return homeless + [
        f"{name}:{line} imports {target}"
        for name, source in modules.items()
        for target, line, _ in imports(source)
        if not may_import(name, target)
    ]


def folder_cycles(modules: dict[str, str]) -> list[str]:
    arrows: dict[str, set[str]] = {}
    for name, source in modules.items():
        targets = {unit(target.name) for target in imports(source)}
        arrows.setdefault(unit(name), set()).update(targets - {unit(name)})

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = arrows.get(todo.pop(), set()) - seen
            seen |= new
            todo += new
        return seen

    return [name for name in sorted(arrows) if name in reached(name)]


def forbidden(modules: dict[str, str]) -> list[str]:
    return [
        f"{name}:{line} imports {target}"
        for who, but, what in FORBIDDEN
        for name, source in modules.items()
        if is_in(name, (who,)) and not is_in(name, but)
        for target, line, _ in imports(source)
        if is_in(target, what) and target.rpartition(".")[0] != name
    ]


def torch_found(modules: dict[str, str]) -> list[str]:
    """Modules that must do without torch and import it: anywhere themselves, or at the top of what they import."""
    top = {name: {i.name for i in imports(source) if not i.lazy} for name, source in modules.items()}

    def torch_behind(name: str, seen: set[str]) -> str | None:
        seen.add(name)
        for target in sorted(top[name]):
            if is_in(target, TORCH):
                return f"{name} imports {target}"
            for ours in (target, target.rpartition(".")[0]):
                if ours in modules and ours not in seen and (behind := torch_behind(ours, seen)):
                    return behind
        return None

    found = []
    for name, source in modules.items():
        if is_in(name, WITHOUT_TORCH):
            found += [f"{name}:{i.line} imports {i.name}" for i in imports(source) if i.lazy and is_in(i.name, TORCH)]
            found += [f"{name} reaches torch: {behind}"] if (behind := torch_behind(name, set())) else []
    return found


def oversized(modules: dict[str, str]) -> list[str]:
    found = []
    for name, source in modules.items():
        if (lines := len(source.splitlines())) > MAX_FILE_LINES:
            found.append(f"{name} has {lines} lines")
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    found.append(f"{name}:{node.lineno} {node.name} has {length} lines")
    return found


def our_modules() -> dict[str, str]:
    paths = [path for folder in ("rlhf_core", "services") for path in sorted((ROOT / folder).rglob("*.py"))]
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path in paths
    }


@pytest.mark.parametrize("check", [wrong_arrows, folder_cycles, forbidden, torch_found, oversized])
def test_the_house_keeps_its_rules(check):
    found = check(our_modules())
    assert not found, "\n".join(found)


def test_no_module_is_called_utils():
    assert [name for name in our_modules() if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc")] == []


@pytest.mark.parametrize(
    ("check", "name", "source"),
    [
        (wrong_arrows, "rlhf_core.records", "from rlhf_core import store"),
        (wrong_arrows, "rlhf_core.seams", "from rlhf_core.constitution.load import load_constitution"),
        (wrong_arrows, "rlhf_core.feedback.judge", "def f():\n    from rlhf_core.training.sft import train_sft"),
        (wrong_arrows, "rlhf_core.models.policy", "import rlhf_core.pipeline"),
        (wrong_arrows, "rlhf_core.feedback.judge", "from .critique import parse"),
        (wrong_arrows, "rlhf_core.feedback.judge", "from rlhf_core.utils import x"),
        (wrong_arrows, "rlhf_core.extras.thing", ""),
        (forbidden, "rlhf_core.pipeline", "def f():\n    import grpc"),
        (forbidden, "rlhf_core.models.policy", "from google.protobuf import message"),
        (forbidden, "services.app", "import sqlite3"),
        (forbidden, "rlhf_core.feedback.votes", "from sqlite_utils import Database"),
        (forbidden, "rlhf_core.evaluation.report", "import importlib\nimportlib.import_module('rlhf_core.sandbox')"),
        (forbidden, "rlhf_core.training.ppo", "from rlhf_core.records import Sample"),
        (forbidden, "services.policy_service", "from services.reward_service import RewardService"),
        (torch_found, "rlhf_core.feedback.votes", "import torch"),
        (torch_found, "rlhf_core.store.rows", "def f():\n    from torch import Tensor"),
        (torch_found, "services.policy_service", "from transformers.utils import logging"),
        (torch_found, "services.convert", "from rlhf_core.models.policy import Policy"),
        (oversized, "services.app", "x = 1\n" * 251),
        (oversized, "services.app", "class A:\n    async def f():\n" + "        x = 1\n" * 45),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(check, name, source):
    assert check({"rlhf_core.models.policy": "import torch", name: source}) != []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rlhf_core.seams", "from rlhf_core.constitution.schema import Principle"),
        ("rlhf_core.feedback.judge", "from rlhf_core import records\nfrom rlhf_core.feedback.votes import vote"),
        ("rlhf_core.store.rows", "import sqlite3"),
        ("rlhf_core.pipeline", "import torch\nfrom rlhf_core.sandbox.sandbox import world"),
        ("rlhf_core.training.sft", "from rlhf_core.models.policy import Policy"),
        ("services.app", "import torch\nimport grpc\nfrom rlhf_core.pipeline import run"),
        ("services.convert", "def f():\n    from rlhf_core.models.policy import Policy"),
    ],
)
def test_what_is_allowed_passes(name, source):
    modules = {"rlhf_core.models.policy": "import torch", name: source}
    assert [
        line for check in (wrong_arrows, folder_cycles, forbidden, torch_found, oversized) for line in check(modules)
    ] == []


def test_a_cycle_between_folders_is_found():
    modules = {
        "rlhf_core.seams": "import rlhf_core.constitution.schema",
        "rlhf_core.constitution.schema": "import rlhf_core.seams",
    }
    assert folder_cycles(modules) == ["rlhf_core.constitution", "rlhf_core.seams"]
