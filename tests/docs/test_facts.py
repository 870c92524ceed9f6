"""docs/: messages, names and numbers that the pages speak of are those of the code."""

from __future__ import annotations

import re
import shutil
import sqlite3
from contextlib import closing
from functools import cache
from inspect import signature
from pathlib import Path

import pytest

from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.store import Store
from services.cli import main as cli
from services.cli.gc import gc
from services.security.scopes import SCOPES
from services.server.config import MODELS
from services.telemetry import metrics
from services.wire.status import INTERNAL, KINDS
from tests.docs.reading import text_of
from tests.docs.settings import ROOT


@cache
def code() -> str:
    """All of the product, with texts that run over lines put together."""
    paths = [path for folder in ("rlhf_core", "services") for path in sorted((ROOT / folder).rglob("*.py"))]
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(path.read_text() for path in paths))


def constant(name: str) -> str:
    """Its value as it is written; read and not imported, as some stand beside torch, which takes seconds."""
    [value] = re.findall(rf"^{name} = (\S+)$", code(), re.MULTILINE)
    return value


def messages() -> list[str]:
    """The headings of the page that are parts of messages."""
    return re.findall(r"^### `(.+)`$", text_of("troubleshooting.md"), re.MULTILINE)


def names() -> list[str]:
    """What the page calls by a single name of the code: functions, classes, constants."""
    return sorted(set(re.findall(r"`(\w*[A-Z]\w*|\w+_\w+)`", text_of("extending.md"))) - {"Literal"})


def is_named(name: str) -> bool:
    if name.startswith("test_"):
        return any((ROOT / "tests").rglob(f"{name}.py"))
    defined = rf"^\s*(?:(?:class|def) {name}\b|{name}\b(?:: [^=\n]+)?(?: =|$)|{name}: )"
    return re.search(defined, code(), re.MULTILINE) is not None


@pytest.mark.parametrize("message", messages())
def test_a_message_that_is_explained_is_one_that_is_given(message: str):
    assert message in code()


def test_messages_are_explained():
    assert len(messages()) > 30 and "no such message" not in code()


def test_every_reason_is_explained_with_its_status():
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", text_of("troubleshooting.md"), re.MULTILINE))
    assert rows == {kind.reason: kind.code.name for kind in KINDS} | {INTERNAL: "INTERNAL"}


@pytest.mark.parametrize("name", names())
def test_a_name_that_extenders_are_told_exists(name: str):
    assert is_named(name)


def test_a_name_that_does_not_exist_is_found():
    assert {"Feedback", "EngineName", "test_layers"} <= set(names())
    assert not is_named("new_patcher") and not is_named("test_lairs")


def test_every_metric_is_listed():
    made = {family.name for family in metrics.REGISTRY.collect()} | {
        "charter_runs",
        "charter_run_step",
        "charter_run_steps",
    }
    assert set(re.findall(r"`(charter_\w+)`", text_of("operations.md"))) == made


def test_every_scope_and_every_model_of_health_is_listed():
    text = text_of("operations.md")
    assert [scope for scope in SCOPES if f"| `{scope}` |" not in text] == []
    assert {model for models in MODELS.values() for model in models} == set(re.findall(r"`model:(\w+)`", text))


def test_exit_codes_are_those_of_the_command_line():
    codes = (0, cli.UNEXPECTED, cli.USER_MISTAKE, cli.UNAVAILABLE, cli.FAILED, cli.INTERRUPTED)
    told = text_of("troubleshooting.md").partition("exits with ")[2].partition("when it was interrupted")[0]
    assert tuple(map(int, re.findall(r"\d+", told))) == codes


def test_numbers_in_the_pages_are_those_of_the_code():
    assert "up to 200 of them" in text_of("data-formats.md") and constant("IMPORTED") == "200"
    assert "first\n20 in full" in text_of("troubleshooting.md") and constant("MAX_SHOWN") == "20"
    assert "a tenth of `data.prompts` is kept back" in text_of("data-formats.md") and constant("HELDOUT_SHARE") == "0.1"
    assert "loses five workers" in text_of("operations.md") and constant("MAX_CRASHES") == "5"
    assert "within the last hour stays" in text_of("operations.md") and signature(gc).parameters["idle"].default == 1.0


def test_rows_copied_before_artifacts_find_all_that_they_name(tmp_path: Path):
    """The backup of a store at work, as operations.md tells it."""
    data, copy, adapter = tmp_path / "data", tmp_path / "copy", tmp_path / "adapter"
    adapter.mkdir()
    copy.mkdir()
    (adapter / "weights").write_text("1")
    with closing(Store.open(data)) as store:
        digest = store.artifacts.put_folder(adapter)
        version = PolicyVersion(id="p", run_id="r", stage="sft", parent="base", base_model="sandbox", artifact=digest)
        store.policy_versions.add(version)
        with (
            closing(sqlite3.connect(data / "charter.db")) as source,
            closing(sqlite3.connect(copy / "charter.db")) as own,
        ):
            source.backup(own)
        (adapter / "weights").write_text("2")
        later = store.artifacts.put_folder(adapter)
        shutil.copytree(data / "artifacts", copy / "artifacts")
    with closing(Store.open(copy)) as restored:
        assert restored.policy_versions.get("p") == version and restored.artifacts.get_folder(digest).is_dir()
        assert list(restored.garbage.orphans().digests) == [later]
