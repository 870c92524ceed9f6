"""Structural differences, and which objectives they touch."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.constitution.constitution import CompareDefaults, Constitution, Defaults, Objective
from rlhf_core.constitution.diff import changed_principles, diff_constitutions, word_edits
from rlhf_core.constitution.principle import AppliesWhen, Principle, Rule

FUMES = Principle(id="fumes", serves={"harmless": 1.0}, compare="Which reply has less risk of fumes?")
STEPS = Principle(id="steps", serves={"helpful": 1.0}, compare="Which reply has more steps?")
CLEAR = Principle(id="clear", serves={"helpful": 0.5}, compare="Which reply is clearer?")
LAW = Constitution(
    id="law",
    version="1.0.0",
    objectives=(Objective(name="helpful"), Objective(name="harmless")),
    principles=(FUMES, STEPS, CLEAR),
)


def edited(principle: Principle, **changes: Any) -> Constitution:
    """LAW with one of its principles changed."""
    new = tuple(p.model_copy(update=changes) if p.id == principle.id else p for p in LAW.principles)
    return LAW.model_copy(update={"principles": new})


def test_a_constitution_does_not_differ_from_itself():
    found = diff_constitutions(LAW, LAW, ("a.yaml", "b.yaml"))
    assert found.empty and found.retrain == () and found.unaffected == ("helpful", "harmless")
    assert (found.before.source, found.after.source) == ("a.yaml", "b.yaml")


def test_rewording_names_the_text_the_words_and_the_objective():
    found = diff_constitutions(LAW, edited(FUMES, compare="Which reply has less risk of fumes or burns?"))
    [rewording] = found.reworded
    assert (rewording.principle_id, rewording.field) == ("fumes", "compare")
    assert [(edit.kind, edit.text) for edit in rewording.edits] == [
        ("same", "Which reply has less risk of fumes"),
        ("new", " or burns"),
        ("same", "?"),
    ]
    assert (found.asked, found.retrain, found.unaffected) == (("fumes",), ("harmless",), ("helpful",))


def test_a_weight_asks_for_no_vote_but_for_another_reward_model():
    found = diff_constitutions(LAW, edited(CLEAR, weight=3.0))
    [change] = found.reweighted
    assert (change.what, change.before, change.after) == ("clear", 1.0, 3.0)
    assert (found.asked, found.retrain) == ((), ("helpful",))


def test_a_title_is_reworded_but_touches_no_label():
    found = diff_constitutions(LAW, edited(FUMES, title="No fumes"))
    assert [r.field for r in found.reworded] == ["title"]
    assert not found.empty and (found.asked, found.retrain) == ((), ())


def test_a_principle_may_move_to_another_objective():
    found = diff_constitutions(LAW, edited(CLEAR, serves={"harmless": 0.5}))
    [change] = found.moved
    assert (change.before, change.after) == ({"helpful": 0.5}, {"harmless": 0.5})
    assert (found.asked, found.retrain) == ((), ("helpful", "harmless"))


def test_added_and_removed_principles_are_named():
    less = LAW.model_copy(update={"principles": (FUMES, STEPS)})
    assert diff_constitutions(LAW, less).removed == ("clear",)
    more = diff_constitutions(less, LAW)
    assert (more.added, more.asked, more.retrain) == (("clear",), ("clear",), ("helpful",))


def test_another_id_with_the_same_texts_keeps_its_votes():
    found = diff_constitutions(LAW, edited(FUMES, id="no-fumes"))
    assert [(change.before, change.after) for change in found.renamed] == [("fumes", "no-fumes")]
    assert (found.added, found.removed, found.asked, found.retrain) == ((), (), (), ())


def test_another_id_moves_the_draw_of_those_who_vote():
    drawn = LAW.model_copy(update={"defaults": Defaults(compare=CompareDefaults(principles_per_label=1))})
    after = edited(FUMES, id="no-fumes").model_copy(update={"defaults": drawn.defaults})
    found = diff_constitutions(drawn, after)
    assert (found.asked, found.retrain) == ((), ("harmless",))


def test_scope_objectives_and_defaults_are_compared():
    other = edited(STEPS, applies_when=AppliesWhen(tags_any=("recipe",)), severity="high").model_copy(
        update={
            "objectives": (Objective(name="helpful", default_weight=2.0), Objective(name="harmless")),
            "priority": ("fumes",),
        }
    )
    found = diff_constitutions(LAW, other)
    assert [change.what for change in found.rescoped] == ["steps.severity", "steps.applies_when"]
    assert [(change.what, change.before, change.after) for change in found.objectives] == [("helpful", 1.0, 2.0)]
    assert [change.what for change in found.defaults] == ["priority"]
    assert found.retrain == ("helpful",)


def test_a_rule_that_is_for_other_prompts_is_another_rule_and_asked_anew():
    rule = Rule(id="numbered", pattern="1[.]", expect="yes")
    before = edited(STEPS, rules=(rule,))
    scoped = rule.model_copy(update={"applies_when": AppliesWhen(tags_any=("recipe",))})
    found = diff_constitutions(before, edited(STEPS, rules=(scoped,)))
    [rules] = found.reworded
    assert rules.field == "rules" and [edit.kind for edit in rules.edits] == ["same", "new"]
    assert rules.edits[1].text == "\napplies_when: {tags_any: [recipe]}"
    assert (found.asked, found.retrain) == (("steps",), ("helpful",))


def test_another_way_to_label_touches_every_objective():
    clamped = Defaults(compare=CompareDefaults(clamp=(0.4, 0.6)))
    found = diff_constitutions(LAW, LAW.model_copy(update={"defaults": clamped}))
    assert [change.what for change in found.defaults] == ["compare.clamp"]
    assert found.retrain == ("helpful", "harmless")


def test_principles_whose_say_changed_are_those_of_labels():
    other = edited(FUMES, title="only a title").model_copy(update={"objectives": (Objective(name="helpful"),)})
    assert changed_principles(LAW, other) == ()
    assert changed_principles(LAW, edited(FUMES, weight=2.0)) == ("fumes",)
    assert changed_principles(LAW, LAW.model_copy(update={"principles": (FUMES, STEPS)})) == ("clear",)


@given(st.text(max_size=80), st.text(max_size=80))
def test_edits_hold_both_texts(before: str, after: str):
    edits = word_edits(before, after)
    assert "".join(edit.text for edit in edits if edit.kind != "new") == before
    assert "".join(edit.text for edit in edits if edit.kind != "gone") == after
