import hashlib
from pathlib import Path

import pytest

from rlhf_core.constitution.load import BUILTIN, builtin_text, load_constitution, parse_constitution
from rlhf_core.constitution.validation.problems import InvalidConstitution

GOOD = """\
schema: constitution/v1
id: home
version: 1.2.0
title: At home
objectives:
  helpful: {default_weight: 2}
  harmless: {description: nobody gets hurt}
principles:
  - id: no-fumes
    title: No fumes
    serves: {harmless: 1.0}
    weight: 2
    critique: Does the reply make fumes?
    revise: Take the fumes out.
    compare: Which reply makes fewer fumes?
  - id: every-step
    serves: {helpful: 0.8, harmless: 0.2}
    compare: >
      Which reply names
      more of the steps?
changelog:
  - {version: 1.2.0, date: 2026-01-10, note: begun}
"""


def problems(text: str) -> list[str]:
    with pytest.raises(InvalidConstitution) as caught:
        parse_constitution(text, "c.yaml")
    return [str(problem) for problem in caught.value.problems]


def only_problem(old: str, new: str) -> str:
    assert GOOD.count(old) >= 1
    found = problems(GOOD.replace(old, new, 1))
    assert len(found) == 1, found
    return found[0]


def test_a_good_file_gives_its_values():
    constitution = parse_constitution(GOOD, "c.yaml")
    assert (constitution.id, constitution.version, constitution.title) == ("home", "1.2.0", "At home")
    assert constitution.default_weights() == {"helpful": 2.0, "harmless": 1.0}
    fumes, steps = constitution.principles
    assert (fumes.weight, fumes.critique, fumes.revise) == (2.0, "Does the reply make fumes?", "Take the fumes out.")
    assert (steps.weight, steps.critique, steps.revise) == (1.0, None, None)
    assert steps.compare == "Which reply names more of the steps?"
    assert steps.serves == {"helpful": 0.8, "harmless": 0.2}


def test_comments_key_order_block_style_and_changelog_leave_the_hash_alone():
    text = GOOD.replace("    weight: 2\n", "").replace("  - id: no-fumes\n", "  - weight: 2 # why\n    id: no-fumes\n")
    text = "# a note\n" + text[: text.index("changelog")].replace("compare: >\n", "compare: >-\n")
    assert parse_constitution(text, "other.yaml").hash == parse_constitution(GOOD, "c.yaml").hash


def test_a_weight_changes_the_constitution_hash_but_no_principle_hash():
    before, after = parse_constitution(GOOD, "c"), parse_constitution(GOOD.replace("weight: 2\n", "weight: 3\n"), "c")
    assert before.hash != after.hash
    assert [p.hash for p in before.principles] == [p.hash for p in after.principles]


def test_words_that_other_yaml_versions_take_for_numbers_and_booleans_are_text():
    for word in ("no", "on", "2026-01-10", "12:30:00", "0o7", "1_000"):
        constitution = parse_constitution(GOOD.replace("title: No fumes", f"title: {word}"), "c")
        assert constitution.principles[0].title == word


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "    title: No fumes\n",
            "\ttitle: No fumes\n",
            "10:1 C001 while scanning for the next token found character '\\t'",
        ),
        ("    weight: 2\n", "    weight: 2\n    weight: 3\n", '13:5 C001 the key "weight" is given twice; first'),
        ("weight: 2\n", "wieght: 2\n", '12:5 C010 unknown key "wieght"; did you mean "weight"?'),
        ("schema:", "xchema: 1\nschema:", '1:1 C010 unknown key "xchema"; did you mean "schema"?'),
        ("description:", "descripton:", '7:14 C010 unknown key "descripton"; did you mean "description"?'),
        ("weight: 2\n", "weight: heavy\n", '12:13 C011 principles.0.weight is "heavy", not a number'),
        ("weight: 2\n", "weight: true\n", "12:13 C011 principles.0.weight is true, not a number"),
        ("title: No fumes", "title: true", "10:12 C011 principles.0.title is true, not text; put it in quotes"),
        ("version: 1.2.0", "version: 1.2", "3:10 C011 version is 1.2, not text; put it in quotes"),
        ("serves: {harmless: 1.0}", "serves: harmless", '11:13 C011 principles.0.serves is "harmless", not a mapping'),
        ("constitution/v1", "constitution/v7", '1:9 C012 schema is "constitution/v7"; this version reads'),
        ("title: At home\n", "", '1:1 C013 the key "title" is missing; add title: ...'),
        ("    compare: Which reply makes fewer fumes?\n", "", '9:5 C013 the key "compare" is missing'),
        ("version: 1.2.0", "version: v1", '3:10 C014 the version "v1" is not semantic; write it as in 1.0.0'),
        ("every-step", "no-fumes", '16:9 C020 the principle id "no-fumes" is used on lines 9 and 16; give each'),
        ("every-step", "Every_Step", '16:9 C021 the id "Every_Step" is not allowed; lower-case words'),
        ("id: home", "id: my home", '2:5 C021 the id "my home" is not allowed'),
        (
            "serves: {helpful: 0.8, harmless: 0.2}",
            "serves: {helpful: 0.8, harmles: 0.2}",
            '17:28 C022 the objective "harmles" is unknown; did you mean "harmless"? known: helpful, harmless',
        ),
        (
            "  harmless: {d",
            "  honest: {}\n  harmless: {d",
            '7:3 C023 no principle with a weight above 0 serves "honest"',
        ),
        ("default_weight: 2", "default_weight: -2", "6:29 C024 objectives.helpful.default_weight is -2; allowed: a"),
        ("weight: 2\n", "weight: .nan\n", "12:13 C024 principles.0.weight is nan; allowed: a number from 0"),
        ("helpful: 0.8", "helpful: .inf", "17:23 C024 principles.1.serves.helpful is inf"),
        ("weight: 2\n", "weight: 1e999\n", "12:13 C024 principles.0.weight is inf"),
        ("critique: Does the reply make fumes?", 'critique: " "', "13:15 C032 critique is empty"),
        ("    revise: Take the fumes out.\n", "", "13:5 C033 critique without revise; add revise"),
    ],
)
def test_each_mistake_is_named_with_its_place(old, new, expected):
    found = problems(GOOD.replace(old, new, 1))
    assert any(problem.startswith(f"c.yaml:{expected}") for problem in found), found


def test_one_mistake_gives_one_problem():
    only_problem("weight: 2\n", "wieght: 2\n")
    only_problem("every-step", "no-fumes")
    only_problem("harmless: 0.2", "harmles: 0.2")
    only_problem("version: 1.2.0", "version: 1.2")
    only_problem("    revise: Take the fumes out.\n", "")


def test_an_objective_that_only_weightless_principles_serve_has_no_principle():
    text = GOOD.replace("weight: 2\n", "weight: 0\n").replace(", harmless: 0.2", "")
    assert problems(text)[0].startswith('c.yaml:7:3 C023 no principle with a weight above 0 serves "harmless"')


def test_all_default_weights_zero_and_all_shares_zero_are_mistakes():
    text = GOOD.replace("default_weight: 2", "default_weight: 0").replace(
        "{description", "{default_weight: 0, description"
    )
    assert problems(text) == [
        "c.yaml:5:1 C024 every default_weight is 0; give at least one objective a weight above 0",
    ]
    found = problems(GOOD.replace("{helpful: 0.8, harmless: 0.2}", "{helpful: 0}"))
    assert any("17:13 C024 the principle serves no objective" in problem for problem in found)


def test_a_text_longer_than_the_judge_can_take_is_a_mistake():
    assert "C032 critique has 5000 characters; allowed: at most 4000" in only_problem(
        "Does the reply make fumes?", "x" * 5000
    )


def test_all_mistakes_are_reported_together_in_the_order_of_the_file():
    text = GOOD.replace("schema: constitution/v1", "schema: 2").replace("weight: 2\n", "wait: 2\n    wait: 3\n")
    text = text.replace("every-step", "no-fumes").replace("harmless: 0.2", "harmles: 0.2").replace("note:", "memo:")
    codes = [line.split()[1] for line in problems(text)]
    assert codes == ["C012", "C010", "C001", "C020", "C022", "C010"]


def test_an_unknown_builtin_is_named_with_the_known_ones():
    with pytest.raises(InvalidConstitution, match=r"houshold.*built-in household, assistant"):
        builtin_text("houshold")


@pytest.mark.parametrize("name", BUILTIN)
def test_the_builtin_constitutions_load_by_name_and_by_path(name):
    path = Path(__file__).parents[2] / "constitutions" / f"{name}.yaml"
    constitution = load_constitution(name)
    others = [load_constitution(str(path)), parse_constitution(builtin_text(name), name)]
    assert [(c.principles, c.hash, c.file_hash) for c in others] == [
        (constitution.principles, constitution.hash, hashlib.sha256(path.read_bytes()).hexdigest()[:16])
    ] * 2
    assert constitution.id == name


def test_the_assistant_can_criticise_revise_and_compare_for_every_objective():
    constitution = load_constitution("assistant")
    assert constitution.objective_names == ("helpful", "harmless", "honest")
    assert len(constitution.critiquing()) == len(constitution.principles) >= 14
    assert len({principle.hash for principle in constitution.principles}) == len(constitution.principles)
    for objective in constitution.objective_names:
        assert len(constitution.serving(objective)) >= 5
    for principle in constitution.principles:
        assert principle.title and principle.compare.endswith("?") and principle.id != principle.title
        assert "eply" in (principle.critique or "") and (principle.revise or "").startswith("Rewrite")


@pytest.mark.parametrize("bounds", ["[0.6, 0.4]", "[0.3, 0.8]", "[0.4]"])
def test_bounds_that_favour_one_reply_are_a_mistake(bounds):
    text = GOOD.replace("changelog:\n", f"defaults: {{compare: {{clamp: {bounds}}}}}\nchangelog:\n")
    [found] = problems(text)
    assert "C024 clamp has the bounds" in found and "as in [0.4, 0.6]" in found
    fair = text.replace(bounds, "[0.3, 0.7]")
    assert parse_constitution(fair, "c.yaml").defaults.compare.clamp == (0.3, 0.7)
