import hashlib

import pytest
from pydantic import ValidationError

from rlhf_core.constitution.constitution import Change, Constitution, CritiqueDefaults, Defaults, Objective
from rlhf_core.constitution.principle import AppliesWhen, Example, Principle, PrincipleTest, Reference, Rule
from rlhf_core.errors import NotFound


def principle(name: str = "be-kind", **changes) -> Principle:
    values = {"id": name, "serves": {"helpful": 1.0}, "critique": "c", "revise": "r", "compare": "q"}
    return Principle(**{**values, **changes})


def constitution(*principles: Principle, **changes) -> Constitution:
    objectives = (Objective(name="helpful"), Objective(name="harmless", default_weight=2))
    values = {"id": "test", "version": "1.0.0", "title": "T", "objectives": objectives, "principles": principles}
    return Constitution(**{**values, **changes})


def test_the_principle_hash_is_the_sha256_of_its_three_texts_as_canonical_json():
    expected = hashlib.sha256(b'["c","r","q"]').hexdigest()[:16]
    assert principle().hash == expected


def test_weight_share_title_and_id_leave_the_principle_hash_alone():
    assert principle("other", weight=3, title="x", serves={"harmless": 0.2}).hash == principle().hash


RULE = Rule(id="kind", ask="Is it kind?", expect="yes")
EXAMPLE = Example(prompt="p", bad="b", critique="c", good="g")


def test_rules_and_examples_enter_the_principle_hash_where_there_are_any():
    expected = b'["c","r","q",[["kind","Is it kind?",null,"yes"]],[["p","b","c","g"]]]'
    assert principle(rules=[RULE], examples=[EXAMPLE]).hash == hashlib.sha256(expected).hexdigest()[:16]
    hashes = [principle(), principle(rules=[RULE]), principle(examples=[EXAMPLE]), principle(rules=[RULE] * 2)]
    assert len({changed.hash for changed in hashes}) == 4


@pytest.mark.parametrize(
    "change",
    [
        {"rules": [RULE.model_copy(update={"penalty": 3.0})]},
        {"severity": "critical"},
        {"applies_when": AppliesWhen(tags_any=("health",))},
        {"tests": [PrincipleTest(prompt="p", prefer="a", over="b")]},
        {"references": [Reference(label="r")]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_no_model_is_asked_leaves_the_principle_hash_alone(change):
    plain = principle(rules=[RULE])
    changed = principle(**{"rules": [RULE], **change})
    assert changed.hash == plain.hash
    counts = not {"tests", "references"} & set(change)
    assert (constitution(changed).hash != constitution(plain).hash) == counts


@pytest.mark.parametrize("key", ["critique", "revise", "compare"])
def test_each_text_changes_the_principle_hash(key):
    assert principle(**{key: "changed"}).hash != principle().hash


def test_composed_and_decomposed_letters_have_one_hash():
    assert principle(compare="caf\u00e9").hash == principle(compare="cafe\u0301").hash


@pytest.mark.parametrize(
    "change",
    [{"weight": 2}, {"serves": {"helpful": 0.5}}, {"compare": "other"}],
    ids=["weight", "share", "text"],
)
def test_weights_shares_and_texts_change_the_constitution_hash(change):
    assert constitution(principle(**change)).hash != constitution(principle()).hash


def test_a_default_weight_changes_the_constitution_hash():
    heavier = (Objective(name="helpful", default_weight=3), Objective(name="harmless", default_weight=2))
    assert constitution(principle(), objectives=heavier).hash != constitution(principle()).hash


def test_defaults_and_priority_change_the_constitution_hash_where_they_say_something():
    plain = constitution(principle())
    assert constitution(principle(), defaults=Defaults(critique=CritiqueDefaults())).hash == plain.hash
    assert constitution(principle(), defaults=Defaults(critique=CritiqueDefaults(rounds=2))).hash != plain.hash
    assert (
        constitution(principle("a"), principle("b"), priority=("a", "b")).hash
        != constitution(principle("a"), principle("b"), priority=("b", "a")).hash
    )


def test_a_changelog_and_what_was_extended_leave_the_constitution_hash_alone():
    told = constitution(
        principle(), changelog=(Change(version="1.0.0"),), extends=("b.yaml",), inherited={"be-kind": "b"}
    )
    assert told.hash == constitution(principle()).hash and told.file_hash == ""


@pytest.mark.parametrize(
    ("when", "tags", "expected"),
    [
        (AppliesWhen(), (), True),
        (AppliesWhen(tags_any=("health", "law")), ("law", "short"), True),
        (AppliesWhen(tags_any=("health",)), ("short",), False),
        (AppliesWhen(tags_any=("health",)), (), False),
        (AppliesWhen(tags_none=("fiction",)), ("fiction", "health"), False),
        (AppliesWhen(tags_any=("health",), tags_none=("fiction",)), ("health",), True),
        (AppliesWhen(language=("en", "de")), ("lang:de",), True),
        (AppliesWhen(language=("en",)), ("lang:fr",), False),
        (AppliesWhen(language=("en",)), ("health",), True),
    ],
)
def test_a_principle_applies_to_the_prompts_whose_tags_it_asks_for(when, tags, expected):
    assert when.matches(tags) is expected and principle(applies_when=when).applies_to(tags) is expected
    assert principle().applies_to(tags)


def test_order_title_version_and_description_leave_the_constitution_hash_alone():
    first, second = principle("a"), principle("b", compare="z")
    described = (Objective(name="harmless", default_weight=2, description="d"), Objective(name="helpful"))
    plain = constitution(first, second)
    assert constitution(second, first, objectives=described, title="U", version="9.0.0").hash == plain.hash


def test_principles_come_in_the_same_order_whatever_the_order_of_the_file():
    first, second = principle("a"), principle("b")
    assert constitution(second, first).serving("helpful") == (first, second)
    assert constitution(second, first).critiquing() == (first, second)


def test_only_principles_with_a_share_above_zero_serve_an_objective():
    split = principle("a", serves={"helpful": 0, "harmless": 1})
    assert constitution(split, principle("b")).serving("harmless") == (split,)
    assert [p.id for p in constitution(split, principle("b")).serving("helpful")] == ["b"]


def test_a_principle_that_only_compares_does_not_criticise():
    silent = principle("silent", critique=None, revise=None)
    assert constitution(silent, principle()).critiquing() == (principle(),)


def test_objective_names_and_default_weights_keep_the_order_of_the_file():
    assert constitution(principle()).objective_names == ("helpful", "harmless")
    assert constitution(principle()).default_weights() == {"helpful": 1.0, "harmless": 2.0}


def test_a_principle_is_found_by_its_id_and_a_missing_one_is_named():
    assert constitution(principle()).principle("be-kind") == principle()
    with pytest.raises(NotFound, match="'test' has no principle 'nope'"):
        constitution(principle()).principle("nope")


@pytest.mark.parametrize(
    "change",
    [
        {"rules": [{"id": "r", "expect": "no"}]},
        {"tests": [{}]},
        {"revise": None},
        {"weight": -1},
        {"weight": float("nan")},
        {"serves": {"helpful": float("inf")}},
    ],
)
def test_a_principle_built_in_code_obeys_the_same_limits(change):
    with pytest.raises(ValidationError):
        principle(**change)


def test_nothing_can_be_changed_after_it_is_made():
    with pytest.raises(ValidationError):
        principle().weight = 2
