"""Files that a run may name: those in the server's folders, however they are spelled."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest

from rlhf_core.config.run import RunConfig
from rlhf_core.errors import InvalidInput, NoWorker
from services.client.client import CharterClient
from services.rpc.data_roots import check_path
from services.rpc.run_requests import named_paths
from services.server.config import WITHOUT_MODEL, ServeConfig
from tests.services.apps import serving

FILES = ("prompts", "heldout_prompts", "demonstrations", "replay", "preferences")


@pytest.fixture
def tree(tmp_path) -> Path:
    """open/ with a file and links out of it, and closed/ with a secret; open-too/ only begins like open/."""
    for name in ("open/inner", "closed", "open-too"):
        (tmp_path / name).mkdir(parents=True)
    row = json.dumps({"prompt": "How do I dust?"}) + "\n"
    for name in ("open/good.jsonl", "closed/secret.jsonl", "open-too/x.jsonl"):
        (tmp_path / name).write_text(row)
    (tmp_path / "open/link.jsonl").symlink_to(tmp_path / "closed/secret.jsonl")
    (tmp_path / "open/way").symlink_to(tmp_path / "closed")
    (tmp_path / "open/fine.jsonl").symlink_to(tmp_path / "open/good.jsonl")
    (tmp_path / "open/store.json").write_text(row)
    (tmp_path / "open/place").symlink_to(tmp_path / "open/store.json")
    (tmp_path / "open/loop").symlink_to(tmp_path / "open/loop")
    return tmp_path


OUTSIDE = (
    *("closed/secret.jsonl", "closed/absent.jsonl", "open/../closed/secret.jsonl", "open/link.jsonl", "open/way/x"),
    *("open-too/x.jsonl", "open/inner/../../closed/secret.jsonl", "", "..", "open/way/../secret.jsonl"),
    *("open/store.json", "open/inner/../store.json", "open/place"),
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_no_spelling_leads_out_of_the_folders(tree, path):
    with pytest.raises(InvalidInput) as caught:
        check_path(str(tree / path), [tree / "open"], "data.prompts")
    assert caught.value.field == "data.prompts"


@pytest.mark.parametrize("path", ["/etc/passwd", "/dev/zero", "\0", "~root/x", "x" * 5000])
def test_absolute_and_impossible_paths_are_refused(tree, path, monkeypatch):
    monkeypatch.chdir(tree / "closed")
    with pytest.raises(InvalidInput):
        check_path(path, [tree / "open"], "data.prompts")


@pytest.mark.parametrize(
    "path", ["open/good.jsonl", "open/inner/../good.jsonl", "open/fine.jsonl", "open/absent", "open"]
)
def test_what_lies_in_the_folders_is_allowed(tree, path):
    check_path(str(tree / path), [tree / "open"], "data.prompts")
    check_path("/etc/passwd", None, "data.prompts")


def test_a_relative_path_starts_at_the_servers_folder(tree, monkeypatch):
    monkeypatch.chdir(tree / "open")
    check_path("good.jsonl", [Path(".")], "data.prompts")
    with pytest.raises(InvalidInput):
        check_path("../closed/secret.jsonl", [Path(".")], "data.prompts")


def test_every_path_of_a_configuration_is_looked_at():
    data = {name: f"{name}.jsonl" for name in FILES}
    given = {"data": {**data, "preferences_objective": "helpful"}, "reward": {"base_model": "/models/x"}}
    found = dict(named_paths(RunConfig.model_validate({**given, "ppo": {"ptx_coef": 0.5}})))
    assert found == {f"data.{name}": path for name, path in data.items()} | {"reward.base_model": "/models/x"}
    assert dict(named_paths(RunConfig.model_validate({"reward": {"base_model": "org/model"}}))) == {}


def test_a_server_reads_no_file_outside_and_tells_nothing_about_it(tree):
    def look(address: str) -> None:
        with CharterClient.connect(address) as client:

            def create(name: str, path: Path) -> None:
                config = RunConfig.model_validate({"data": {name: str(path)}, "ppo": {"ptx_coef": 0.5}})
                with suppress(NoWorker):
                    client.trainer.create_run(config, validate_only=True)

            create("prompts", tree / "open/good.jsonl")
            create("prompts", tree / "open/fine.jsonl")
            told = set()
            for name in FILES:
                for path in (
                    "closed/secret.jsonl",
                    "closed/absent.jsonl",
                    "open/link.jsonl",
                    "open/../closed/secret.jsonl",
                ):
                    with pytest.raises(InvalidInput, match="not in a folder that this server reads") as caught:
                        create(name, tree / path)
                    assert caught.value.field == f"data.{name}"
                    told.add(str(caught.value).replace(str(tree / path), "").replace(name, ""))
            assert len(told) == 1
            with pytest.raises(InvalidInput, match="there is no such file") as caught:
                create("prompts", tree / "open/absent.jsonl")
            assert caught.value.field == "data.prompts"

    config = ServeConfig(address=f"unix:{tree}/s", data=tree / "store", only=WITHOUT_MODEL, roots=(tree / "open",))
    serving(config, look)
