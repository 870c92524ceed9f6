"""`charter export policy`: a folder made whole or not at all, and every wrong input told in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from rlhf_core.config.run import ModelConfig, RunConfig
from rlhf_core.errors import CharterError
from rlhf_core.models.backbone import Backbone
from rlhf_core.records.models import PolicyVersion
from rlhf_core.store.store import Store
from services.cli.data.export_policy import policy


class Trained(NamedTuple):
    """A data folder, and in it the versions of a policy and of its control."""

    data: Path
    policy: str
    control: str


@pytest.fixture
def trained(tmp_path: Path, tiny_model: Callable[[str], Backbone], tiny_folder: Callable[[str], Path]) -> Trained:
    backbone, folder = tiny_model("llama"), str(tiny_folder("llama"))
    with closing(Store.open(tmp_path / "data")) as store:
        config = RunConfig(model=ModelConfig(base_model=folder), weights={"helpful": 3.0, "harmless": 1.0})
        run = store.runs.create("pipeline", config.model_dump_json(), "c0ffee", "").id

        def version(name: str, stage: str, seed: int) -> str:
            backbone.adapters.add(name, seed)
            with torch.no_grad():
                for parameter in backbone.adapters.parameters(name):
                    parameter += 0.05 * seed
            backbone.adapters.save(name, tmp_path / name)
            digest = store.artifacts.put_folder(tmp_path / name)
            made = {"id": name, "run_id": run, "stage": stage, "parent": "shipped", "base_model": folder}
            store.policy_versions.add(PolicyVersion.model_validate({**made, "artifact": digest, "ungated": True}))
            return name

        names = version("policy-1", "ppo", 1), version("policy-2", "control", 2)
        store.aliases.promote("production", "policy-1", "", "", "")
    return Trained(tmp_path / "data", *names)


def test_without_a_version_it_is_who_holds_production(trained: Trained, tmp_path: Path):
    policy([str(tmp_path / "out")], data=trained.data)
    assert sorted(file.name for file in (tmp_path / "out").glob("adapter*")) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    policy([trained.policy, str(tmp_path / "named")], data=trained.data)
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (tmp_path / "named" / weights).read_bytes()


def test_the_card_says_where_the_policy_comes_from_and_that_nothing_was_measured(trained: Trained, tmp_path: Path):
    policy(["policy-1", str(tmp_path / "out")], merge=True, data=trained.data)
    card = (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nbase_model: ")
    for told in ("stage `ppo`", "helpful 3, harmless 1", "`c0ffee`", "**Ungated**", "nothing here has been measured"):
        assert told in card, told
    assert not (tmp_path / "out" / "adapter_config.json").exists()
    assert (tmp_path / "out" / "config.json").exists()


@pytest.mark.parametrize(
    ("version", "folder", "options", "told"),
    [
        ("policy-9", "out", {}, "policy-9"),
        ("base", "out", {}, "is the base model itself"),
        ("latest", "out", {}, "whose gates passed"),
        ("policy-1", "data", {}, "is there already"),
        ("policy-1", "out", {"address": "127.0.0.1:1"}, "no server answers"),
        ("policy-1", "out", {"data": "elsewhere"}, "elsewhere"),
        ("policy-1", "data/charter.db/out", {}, "cannot be written"),
    ],
)
@pytest.mark.usefixtures("one_try")
def test_a_wrong_input_is_told_and_leaves_no_folder(trained: Trained, tmp_path: Path, version, folder, options, told):
    given = {"address": "", "data": trained.data, **options}
    given["data"] = tmp_path / given["data"]
    before = sorted(tmp_path.iterdir())
    with pytest.raises(CharterError) as complaint:
        policy([version, str(tmp_path / folder)], **given)
    assert told in str(complaint.value)
    assert sorted(tmp_path.iterdir()) == before


def test_what_a_killed_export_left_is_gone_after_the_next(trained: Trained, tmp_path: Path):
    (tmp_path / ".out.new").mkdir()
    (tmp_path / ".out.new" / "half").write_text("")
    policy(["policy-1", str(tmp_path / "out")], data=trained.data)
    assert not (tmp_path / ".out.new").exists() and not (tmp_path / "out" / "half").exists()


def test_a_failed_export_leaves_nothing(trained: Trained, tmp_path: Path, tiny_folder: Callable[[str], Path]):
    (tiny_folder("llama") / "config.json").rename(tmp_path / "kept.json")
    try:
        with pytest.raises(CharterError):
            policy(["policy-1", str(tmp_path / "out")], merge=True, data=trained.data)
        assert not [path for path in tmp_path.iterdir() if "out" in path.name]
    finally:
        (tmp_path / "kept.json").rename(tiny_folder("llama") / "config.json")
