"""Who may import whom. Every import counts, those inside functions too; each rule is tried on a planted violation."""

import ast
from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
OURS = ("rlhf_core", "services", "charter")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 45
MAX_MODULES = 22
"""Of one folder, so that it can be read at a glance."""
MAX_AT_ROOT = 6
SMALL = 40
"""Lines; a module that has fewer, and one importer, is a wall with one door."""

LAYERS: tuple[set[str], ...] = (
    {
        "rlhf_core",
        "rlhf_core.errors",
        "rlhf_core.stats",
        "rlhf_core.seeding",
        "rlhf_core.records",
        "rlhf_core.config",
        "rlhf_core.interfaces",
    },
    {
        "rlhf_core.constitution",
        "rlhf_core.data",
        "rlhf_core.models",
        "rlhf_core.store",
        "rlhf_core.text_detectors",
    },
    {"rlhf_core.inference", "rlhf_core.datasets"},
    {"rlhf_core.reward_models"},
    {"rlhf_core.feedback", "rlhf_core.training", "rlhf_core.evaluation"},
    {"rlhf_core.annotation"},
    {"rlhf_core.stages", "rlhf_core.effects", "rlhf_core.sandbox"},
    {"rlhf_core.pipeline", "rlhf_core.policies", "rlhf_core.comparison", "rlhf_core.studies"},
    {"rlhf_core.exports", "rlhf_core.planning"},
    {"services", "services.wire", "services.security", "services.telemetry"},
    {"services.client", "services.serving", "services.server"},
    {"services.rpc", "services.worker"},
    {"services.http", "services.run_toolbox"},
    {"services.console"},
    {"services.app"},
    {"services.process", "services.embedded", "services.cluster"},
    {"services.cli"},
    {"charter.aio", "charter.errors", "charter.records", "charter.integrations"},
    {"charter", "charter.__main__"},
)
"""A unit imports itself and units of the layers above it in this list, never a neighbour."""
LENT = {("rlhf_core.interfaces", "rlhf_core.constitution.constitution")}
"""The interfaces speak of principles."""

TORCH = ("torch", "transformers", "peft", "safetensors", "tokenizers")
WIRE = ("services", "grpc", "grpc_health", "grpc_reflection", "grpc_status", "google", "charter")
STORAGE = ("sqlite3", "sqlite_utils", "psycopg", "psycopg_pool", "fsspec", "s3fs")

MATHS = ("ppo.losses", "ppo.advantages", "ppo.scalarization", "reward.losses")
SERVICERS = tuple(
    f"services.rpc.{name}"
    for name in (
        *("labelling.annotation", "labelling.assessment", "critique", "dataset", "exploration"),
        *("labelling.preference", "policy", "reward", "server", "study", "trainer"),
    )
)

FORBIDDEN = (
    ("rlhf_core", (), WIRE),
    ("*", ("rlhf_core.store",), STORAGE),
    ("rlhf_core", ("rlhf_core.sandbox", "rlhf_core.pipeline"), ("rlhf_core.sandbox",)),
    *((f"rlhf_core.training.{name}", (), ("rlhf_core", "services")) for name in MATHS),
    # What runs inside a trainer elsewhere reaches a server by its address alone.
    ("charter.integrations", (), ("services", "grpc", "google", *TORCH)),
    *((servicer, (), tuple(other for other in SERVICERS if other != servicer)) for servicer in SERVICERS),
)  # fmt: skip
"""(who, except whom, may not import what): names stand for themselves and all below them, `*` for any text."""

WITHOUT_TORCH = (
    *(f"rlhf_core.{name}" for name in ("errors", "stats", "seeding", "records", "config", "interfaces", "data")),
    *(f"rlhf_core.{name}" for name in ("text_detectors", "constitution", "feedback", "store", "effects", "policies")),
    *("rlhf_core.datasets", "rlhf_core.exports", "rlhf_core.annotation", "rlhf_core.studies"),
    *(f"services.{name}" for name in ("wire", "security", "telemetry", "client", "server", "rpc", "http", "console")),
)
"""These import no torch, not even through a module of ours."""

TWINS: dict[str, set[str]] = {
    # PPO and reward models are trained by the same steps.
    "rlhf_core.training": {"losses", "trainer"},
    # What is computed, and how it is drawn.
    "rlhf_core.evaluation": {"overoptimization", "pareto"},
}
"""Names that two modules of one unit may share."""
WALLS = {
    "charter.aio": "a name that others import",
    "charter.errors": "a name that others import",
    "charter.records": "a name that others import",
    "rlhf_core.constitution.parsing.json_schema": "what editors are told of the files, beside what we read of them",
    "rlhf_core.models.special_tokens": "asks a tokenizer alone, and needs no model",
    "rlhf_core.reward_models.reference_answers": "a reward model's input that is written, not read",
    "rlhf_core.stages.labelling.ungated": "what ends a run, and what its user can do, to be found by its name",
    "rlhf_core.stages.sft": "each stage is a module of its own name",
    "services.rpc.data_roots": "one rule of security, to be read by itself",
}
"""Small modules with one importer that stay, each with its reason."""


class Import(NamedTuple):
    name: str
    line: int
    lazy: bool
    """Inside a function or for type checkers only, so that importing the module does not run it."""


@cache
def imports(source: str) -> tuple[Import, ...]:
    return tuple(_imports(ast.parse(source), lazy=False))


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
        elif isinstance(child, ast.Call) and _last_name(child.func).endswith(("import_module", "__import__")):
            names = [argument.value for argument in child.args[:1] if isinstance(argument, ast.Constant)]
            yield from (Import(str(name), child.lineno, inside) for name in names)
        yield from _imports(child, inside)


def _last_name(called: ast.expr) -> str:
    """Return `c` of `a.b.c`."""
    return getattr(called, "attr", getattr(called, "id", ""))


def is_in(name: str, patterns: tuple[str, ...] | set[str]) -> bool:
    return any(fnmatch(name, pattern) or fnmatch(name, f"{pattern}.*") for pattern in patterns)


def unit(name: str) -> str:
    """The folder or single file, of the core or of the services, that a module lies in."""
    first, *rest = name.split(".")
    return first if not rest or rest[0].startswith("__") else f"{first}.{rest[0]}"


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
    return _on_a_circle(arrows)


def module_cycles(modules: dict[str, str]) -> list[str]:
    """Modules that import each other, be it inside a function or for types alone."""
    arrows: dict[str, set[str]] = {}
    for name, source in modules.items():
        targets = {ours for i in imports(source) for ours in (i.name, i.name.rpartition(".")[0])}
        arrows[name] = (targets & modules.keys()) - {name}
    return _on_a_circle(arrows)


def _on_a_circle(arrows: dict[str, set[str]]) -> list[str]:
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


def crowded(modules: dict[str, str]) -> list[str]:
    """Folders with too many modules; the root of a package has room for few."""
    folders = Counter(name.rpartition(".")[0] for name in files(modules))
    return [
        f"{folder} has {count} modules"
        for folder, count in folders.items()
        if count > (MAX_MODULES if "." in folder else MAX_AT_ROOT)
    ]


def namesakes(modules: dict[str, str]) -> list[str]:
    """Modules of one unit that have the same name."""
    names = Counter((unit(name), name.rpartition(".")[2]) for name in files(modules))
    return [
        f"{folder} has {count} modules called {name}"
        for (folder, name), count in names.items()
        if count > 1 + (name in TWINS.get(folder, ()))
    ]


def walls(modules: dict[str, str]) -> list[str]:
    """Small modules that one other module alone imports."""
    users: dict[str, set[str]] = {}
    for name, source in modules.items():
        for target, _, _ in imports(source):
            for ours in {target, target.rpartition(".")[0]} & modules.keys():
                users.setdefault(ours, set()).add(name)
    small = [name for name in files(modules) if len(modules[name].splitlines()) < SMALL and name not in WALLS]
    return [
        f"{name}: {user} alone imports it" for name in small for user in users.get(name, ()) if len(users[name]) == 1
    ]


def files(modules: dict[str, str]) -> list[str]:
    """The modules that are no folders."""
    folders = {name.rpartition(".")[0] for name in modules} | {*OURS}
    return [name for name in modules if name not in folders]


def our_modules() -> dict[str, str]:
    roots = {"charter": ROOT / "proto"}
    paths = {path: roots.get(name, ROOT) for name in OURS for path in (roots.get(name, ROOT) / name).rglob("*.py")}
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path.read_text()
        for path, root in sorted(paths.items())
        if path.parent.name != "v1"
    }


EACH = (wrong_arrows, folder_cycles, module_cycles, forbidden, torch_found, oversized)
TOGETHER = (crowded, namesakes, walls)


@pytest.mark.parametrize("check", EACH + TOGETHER)
def test_our_modules_keep_every_rule_of_the_layout(check):
    found = check(our_modules())
    assert not found, "\n".join(found)


def test_no_module_is_called_utils():
    assert [name for name in our_modules() if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc")] == []


@pytest.mark.parametrize(
    ("check", "name", "source"),
    [
        (wrong_arrows, "rlhf_core.records.runs", "from rlhf_core import store"),
        (wrong_arrows, "rlhf_core.interfaces", "from rlhf_core.constitution.load import load_constitution"),
        (wrong_arrows, "rlhf_core.feedback.judge", "def f():\n    from rlhf_core.training.sft import train_sft"),
        (wrong_arrows, "rlhf_core.models.policy", "import rlhf_core.pipeline"),
        (wrong_arrows, "rlhf_core.feedback.judge", "from .critic import parse_critique"),
        (wrong_arrows, "rlhf_core.feedback.judge", "from rlhf_core.utils import x"),
        (wrong_arrows, "rlhf_core.extras.thing", ""),
        (forbidden, "rlhf_core.pipeline", "def f():\n    import grpc"),
        (forbidden, "rlhf_core.models.policy", "from google.protobuf import message"),
        (forbidden, "services.app", "import sqlite3"),
        (forbidden, "charter.integrations.trl", "from services.client.client import CharterClient"),
        (forbidden, "rlhf_core.feedback.preference_labels", "from sqlite_utils import Database"),
        (forbidden, "rlhf_core.evaluation.evaluate", "import importlib\nimportlib.import_module('rlhf_core.sandbox')"),
        (forbidden, "rlhf_core.training.ppo.losses", "from rlhf_core.records.samples import Sample"),
        (forbidden, "services.rpc.policy", "from services.rpc.reward import RewardService"),
        (torch_found, "rlhf_core.feedback.preference_labels", "import torch"),
        (torch_found, "rlhf_core.store.row_mapping", "def f():\n    from torch import Tensor"),
        (torch_found, "services.rpc.policy", "from transformers.utils import logging"),
        (torch_found, "services.wire.samples", "from rlhf_core.models.policy import Policy"),
        (oversized, "services.app", "x = 1\n" * 401),
        (oversized, "services.app", "class A:\n    async def f():\n" + "        x = 1\n" * 45),
    ],
)  # fmt: skip
def test_a_planted_violation_is_found(check, name, source):
    assert check({"rlhf_core.models.policy": "import torch", name: source}) != []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("rlhf_core.interfaces", "from rlhf_core.constitution.constitution import Principle"),
        (
            "rlhf_core.feedback.judge",
            "from rlhf_core.records import samples\nfrom rlhf_core.feedback.preference_labels import vote",
        ),
        ("rlhf_core.store.row_mapping", "import sqlite3"),
        ("rlhf_core.pipeline", "import torch\nfrom rlhf_core.sandbox.sandbox import world"),
        ("rlhf_core.training.sft", "from rlhf_core.models.policy import Policy"),
        ("services.app", "import torch\nimport grpc\nfrom rlhf_core.pipeline import run"),
        ("services.wire.samples", "def f():\n    from rlhf_core.models.policy import Policy"),
    ],
)
def test_what_is_allowed_passes(name, source):
    modules = {"rlhf_core.models.policy": "import torch", name: source}
    assert [line for check in EACH for line in check(modules)] == []


@pytest.mark.parametrize(
    ("check", "modules"),
    [
        (
            module_cycles,
            {"services.rpc.one": "import services.rpc.two", "services.rpc.two": "from services.rpc.one import x"},
        ),
        (
            module_cycles,
            {"services.rpc.one": "import services.rpc.two", "services.rpc.two": "def f():\n import services.rpc.one"},
        ),
        (crowded, {f"services.rpc.part{number}": "" for number in range(MAX_MODULES + 1)}),
        (crowded, {f"services.part{number}": "" for number in range(MAX_AT_ROOT + 1)}),
        (namesakes, {"rlhf_core.feedback.judge": "", "rlhf_core.feedback.openai.judge": ""}),
        (walls, {"rlhf_core.feedback.judge": "from rlhf_core.feedback.gate import x", "rlhf_core.feedback.gate": ""}),
    ],
)
def test_modules_that_lie_badly_together_are_found(check, modules):
    assert check(modules) != []


def test_a_cycle_between_folders_is_found():
    modules = {
        "rlhf_core.interfaces": "import rlhf_core.constitution.constitution",
        "rlhf_core.constitution.constitution": "import rlhf_core.interfaces",
    }
    assert folder_cycles(modules) == ["rlhf_core.constitution", "rlhf_core.interfaces"]
