"""What the README shows must exist: files, folders, make targets, verbs and configuration keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rlhf_core.config.run import RunConfig

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_every_linked_file_exists(path: str):
    assert (ROOT / path).is_file()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"^\| `([\w./]+)`", README, re.MULTILINE))))
def test_every_folder_of_the_table_exists(path: str):
    assert (ROOT / path).exists()


@pytest.mark.parametrize("verb", sorted(set(re.findall(r"^charter (\w+)", README, re.MULTILINE))))
def test_every_command_of_the_tour_has_help(verb: str):
    from services.cli.main import app

    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0


@pytest.mark.parametrize("key", sorted(set(re.findall(r"-s ([\w.]+)=", README))))
def test_every_setting_of_the_tour_exists(key: str):
    settings: object = RunConfig()
    for name in key.split("."):
        assert hasattr(settings, name), key
        settings = getattr(settings, name)


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^make (\w+)", README, re.MULTILINE)) <= targets
