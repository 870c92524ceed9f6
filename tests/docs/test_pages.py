"""docs/: what is made from the code is up to date, and what is written by hand holds."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from pydantic import BaseModel
from ruamel.yaml import YAML

from rlhf_core.config.run import RunConfig
from rlhf_core.constitution.load import examine_text
from rlhf_core.constitution.parsing.file_schema import _FORMS
from rlhf_core.constitution.parsing.tree import read_tree
from rlhf_core.data.loaders import load_demonstrations, load_labels, load_preferences, load_prompts
from rlhf_core.data.reward_examples import LabelledPair, Ranking, Rating, StepLabels
from services.cli.main import UsageError, app
from services.cli.run_config import load_config, load_server_config
from services.server.config import ServerConfig
from tests.docs.generate import pages
from tests.docs.reading import (
    DOCS,
    PAGES,
    anchors,
    blocks,
    commands,
    dead,
    is_setting,
    links,
    prose,
    settings,
    text_of,
)
from tests.docs.settings import ROOT, below, comments, sections, words

CHARTER = typer.main.get_command(app)
MADE = pages()
WRITTEN = [page for page in PAGES if page not in MADE]
SECTIONS = [
    "weights",
    *(key for schema in (RunConfig, ServerConfig) for key in schema.model_fields if below(schema, key)),
]
"""What a dotted name of a setting begins with."""
LOADERS = {
    "prompts": load_prompts,
    "demonstrations": load_demonstrations,
    "replay": load_demonstrations,
    "preferences": load_preferences,
    "labels": load_labels,
    "answers": load_demonstrations,
}


def parsed(words: list[str]) -> None:
    """UsageError unless these are a verb of ours and options that it has, with values that it takes."""
    command: Any = CHARTER
    name = "charter"
    while words and words[0] in getattr(command, "commands", {}):
        name, *words = words
        command = command.commands[name]
    if words and hasattr(command, "commands"):
        command.make_context(name, words if words[0].startswith("-") else [f"--{words[0]}"])
        return
    command.make_context(name, list(words))


def examples(language: str, about: str = "") -> list[tuple[str, str]]:
    """Page and text of each block of this language, or of those that are about something."""
    found = [(page, block) for page in PAGES for block in blocks(text_of(page), language)]
    return [(page, block.text) for page, block in found if not about or block.about == about]


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_page_that_is_made_is_the_one_that_is_checked_in(name: str):
    assert (DOCS / name).read_text() == MADE[name], "run `make docs`"


@pytest.mark.parametrize(("schema", "yaml"), [(RunConfig, "deploy/run.yaml"), (ServerConfig, "deploy/server.yaml")])
def test_every_setting_says_what_it_does(schema: type[BaseModel], yaml: str):
    said = comments((ROOT / yaml).read_text())
    found = [
        section.name(key) for section in sections(schema) for key in section.values if not words(section, key, said)
    ]
    # Their section says it for all of them; and what an endpoint of the critic says holds for the judge's.
    assert [name for name in found if not name.startswith(("endpoints.", "feedback.judge.endpoint."))] == []


def test_the_schema_takes_the_annotated_run_and_refuses_what_a_run_refuses():
    schema = json.loads(MADE["run.schema.json"])
    run = YAML(typ="safe").load(ROOT / "deploy/run.yaml")
    jsonschema.validate(run, schema)
    for empty in ("reward:", "model:\n  lora:"):
        jsonschema.validate(read_tree(empty, "run.yaml").data, schema)
    for wrong in ({"ppo": {"stpes": 3}}, {"ppo": {"steps": 0}}, {"label": {"clamp": "papr"}}, {"kind": "all"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_every_field_and_method_of_the_contracts_has_words():
    bare = re.findall(r"^- .*\)\n(?! )", MADE["grpc.md"], re.MULTILINE)
    assert bare == []


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_a_shell_block_can_be_given(page: str):
    for block in blocks(text_of(page), "sh"):
        for given in commands(block.text, "charter"):
            parsed(given)


def test_the_pages_show_commands():
    given = [call for _, text in examples("sh") for call in commands(text, "charter")]
    assert len(given) > 20


@pytest.mark.parametrize(
    "wrong", ["charter rum", "charter run --sped 3", "charter pause", "A=1 charter serve --port x"]
)
def test_a_command_that_does_not_exist_is_found(wrong: str):
    [given] = commands(f"echo a | {wrong} # not so", "charter")
    with pytest.raises(UsageError):
        parsed(given)


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_somewhere(page: str):
    assert [link for link in links(text_of(page)) if dead(link, DOCS / page)] == []


def test_a_link_that_leads_nowhere_is_found():
    assert dead("nothing.md", DOCS / "README.md") and dead("#nothing", DOCS / "README.md")
    assert dead("grpc.md#nothing", DOCS / "README.md") and not dead("grpc.md#sample", DOCS / "README.md")


@pytest.mark.parametrize("page", [*WRITTEN, "configuration.md", "server-configuration.md"])
def test_every_setting_that_is_named_exists(page: str):
    named = settings(text_of(page), SECTIONS)
    assert [name for name in named if not (is_setting(name, RunConfig) or is_setting(name, ServerConfig))] == []


def test_a_setting_that_does_not_exist_is_found():
    assert settings("see `ppo.dial.combines` and weights.harmless", SECTIONS) == [
        "ppo.dial.combines",
        "weights.harmless",
    ]
    assert not is_setting("ppo.dial.combines", RunConfig) and is_setting("weights.harmless", RunConfig)


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_that_is_named_exists(page: str):
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text_of(page), re.MULTILINE)) <= targets


@pytest.mark.parametrize(("page", "about", "text"), [
    (page, block.about, block.text) for page in PAGES for block in blocks(text_of(page), "jsonl")
])  # fmt: skip
def test_every_example_of_a_file_loads(page: str, about: str, text: str, tmp_path: Path):
    file = tmp_path / f"{about}.jsonl"
    file.write_text(text)
    assert len(LOADERS[about](file)) >= len(text.splitlines())


def test_every_format_has_an_example(tmp_path: Path):
    assert {block.about for block in blocks(text_of("data-formats.md"), "jsonl")} == set(LOADERS)
    file = tmp_path / "labels.jsonl"
    file.write_text(
        "".join(block.text for block in blocks(text_of("data-formats.md"), "jsonl") if block.about == "labels")
    )
    assert {type(label) for label in load_labels(file)} == {LabelledPair, Ranking, Rating, StepLabels}


@pytest.mark.parametrize(("page", "text"), examples("yaml", "constitution"))
def test_every_example_of_a_constitution_is_one(page: str, text: str):
    found = examine_text(text, page)
    assert found.constitution is not None and list(map(str, found.problems)) == []


@pytest.mark.parametrize("about", ["run", "server"])
def test_every_example_of_a_configuration_is_one(about: str, tmp_path: Path):
    for number, (_, text) in enumerate(examples("yaml", about)):
        file = tmp_path / f"{number}.yaml"
        file.write_text(text)
        load_config(str(file), environ={}) if about == "run" else load_server_config(str(file), {})


def test_no_block_of_yaml_goes_untested():
    known = ("constitution", "run", "server", "principle")
    assert [(page, block.about) for page in PAGES for block in blocks(text_of(page), "yaml")
            if block.about not in known] == []  # fmt: skip


def test_the_guide_names_every_key_of_a_constitution():
    named = set(re.findall(r"`([\w.]+)`", prose(text_of("constitution.md"))))
    keys = {field.alias or key for form in _FORMS.values() for key, field in form.model_fields.items()}
    assert {key for key in keys if key not in {part for name in named for part in name.split(".")}} == set()


def test_the_contents_lead_to_every_page():
    assert {link.partition("#")[0] for link in links(text_of("README.md"))} >= set(PAGES) - {"README.md"}


def test_headings_are_linked_as_they_are_shown():
    assert anchors("# One `ppo.dial` more\n```sh\n# no heading\n```\n") == {"one-ppodial-more"}
