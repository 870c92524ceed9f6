import pytest
from jsonschema import Draft202012Validator

from rlhf_core.constitution.load import BUILTIN, builtin_text
from rlhf_core.constitution.parsing.json_schema import json_schema
from rlhf_core.constitution.parsing.tree import read_tree

VALIDATOR = Draft202012Validator(json_schema())
TEXT = builtin_text("assistant") + (
    "defaults: {critique: {rounds: 2, stop_on: complies}, compare: {clamp: [0.4, 0.6]}}\npriority: [invent-nothing]\n"
)


def mistakes(text: str) -> list[str]:
    return [str(list(error.absolute_path)) for error in VALIDATOR.iter_errors(read_tree(text, "t").data)]


def test_the_schema_of_a_constitution_is_one_of_2020_12():
    Draft202012Validator.check_schema(json_schema())
    assert json_schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("name", BUILTIN)
def test_the_shipped_constitutions_are_valid(name):
    assert mistakes(builtin_text(name)) == []


@pytest.mark.parametrize(
    ("old", "new", "path"),
    [
        ("schema: constitution/v1", "schema: constitution/v2", "['schema']"),
        ("title: A useful", "tilte: A useful", "[]"),
        ("severity: low", "severity: lowest", "['principles', 2, 'severity']"),
        ("id: answer-what-was-asked", "id: Answer", "['principles', 0, 'id']"),
        ("    compare: Which reply leaves the person with more of what", "    copmare: W", "['principles', 0]"),
        ("penalty: 0.5", "penalty: -0.5", "['principles', 3, 'rules', 0, 'penalty']"),
        ("pattern: 'you (really )?(should|ought to) know better|shame on you', ", "", "['principles', 3, 'rules', 0]"),
        ("rounds: 2", "rounds: 0", "['defaults', 'critique', 'rounds']"),
        ("[0.4, 0.6]", "[0.4]", "['defaults', 'compare', 'clamp']"),
        ("  helpful:\n", "  Helpful!:\n", "['objectives']"),
    ],
)  # fmt: skip
def test_a_mistake_is_found_where_it_is(old, new, path):
    assert mistakes(TEXT) == [] and TEXT.count(old) == 1
    assert path in mistakes(TEXT.replace(old, new))


def test_every_key_that_is_not_plain_is_described():
    properties = json_schema()["$defs"]["Principle"]["properties"]
    assert properties["severity"]["description"].startswith("How bad a violation is.")
    assert "needs" not in properties and set(properties) >= {"applies_when", "rules", "examples", "tests", "references"}
