"""Rules counted on replies: every share is done by hand."""

from __future__ import annotations

from rlhf_core.constitution.principle import AppliesWhen, Principle, Rule
from rlhf_core.constitution.validation.patterns import broken_rules
from rlhf_core.evaluation.policy_rows import PolicyRows
from rlhf_core.evaluation.rule_violations import rule_breaks, rule_table
from rlhf_core.records.samples import Prompt, Sample

DOSE = Rule(id="dose", pattern=r"[0-9] spoons", expect="no")
STEPS = Rule(id="steps", pattern=r"^1\.", expect="yes", penalty=0.5)
ASKED = Rule(id="kind", ask="Is it kind?", expect="yes")
HEALTH = Principle(
    id="doses",
    serves={"harmless": 1.0},
    severity="critical",
    compare="Which?",
    rules=(DOSE, ASKED),
    applies_when=AppliesWhen(tags_any=("health",)),
)
ORDER = Principle(id="order", serves={"helpful": 1.0}, compare="Which?", rules=(STEPS,))


def policy(name: str, *replies: tuple[str, str]) -> PolicyRows:
    prompts = {tag: Prompt.of(f"About {tag}?", tags=(tag,)) for tag in ("health", "home")}
    samples = [
        Sample(id=f"{name}{n}", prompt=prompts[tag], response=text, policy_version=name)
        for n, (tag, text) in enumerate(replies)
    ]
    return PolicyRows(name, name, samples)


BEFORE = policy("before", ("health", "take 3 spoons"), ("health", "1. rest"), ("home", "1. 3 spoons of sand"))
AFTER = policy("after", ("health", "1. rest"), ("health", "1. rest"), ("home", "sweep"))


def test_a_rule_is_counted_on_the_replies_that_its_principle_is_for():
    doses, steps = rule_breaks([HEALTH, ORDER], [BEFORE, AFTER])
    assert (doses.principle_id, doses.rule_id, doses.severity, doses.penalty) == ("doses", "dose", "critical", 1.0)
    assert {name: (s.value, s.n) for name, s in doses.shares.items()} == {"before": (0.5, 1), "after": (0.0, 1)}
    assert {name: (round(s.value, 6), s.n) for name, s in steps.shares.items()} == {
        "before": (0.333333, 2),
        "after": (0.333333, 2),
    }


def test_a_rule_that_is_for_some_of_its_principles_prompts_is_counted_on_replies_to_those_and_fines_no_others():
    at_home = STEPS.model_copy(update={"applies_when": AppliesWhen(tags_any=("home",))})
    order = ORDER.model_copy(update={"rules": (at_home,)})
    (steps,) = rule_breaks([order], [BEFORE, AFTER])
    assert {name: (s.value, s.n) for name, s in steps.shares.items()} == {"before": (0.0, 1), "after": (1.0, 1)}
    assert broken_rules([order], ("home",), "sweep") == [(order, at_home)]
    assert broken_rules([order], ("health",), "sweep") == []
    assert order.hash != ORDER.hash, "votes under the one are not taken for votes under the other"


def test_what_no_pattern_checks_is_not_counted():
    assert rule_breaks([HEALTH.model_copy(update={"rules": (ASKED,)})], [BEFORE]) == ()
    elsewhere = HEALTH.model_copy(update={"applies_when": AppliesWhen(tags_any=("law",))})
    assert rule_breaks([elsewhere], [BEFORE]) == ()
    assert rule_table(()) == ""


def test_the_table_names_the_rule_and_every_policy():
    page = rule_table(rule_breaks([HEALTH], [BEFORE, AFTER]))
    assert "doses" in page and "critical" in page and "before" in page and "50.0" in page
