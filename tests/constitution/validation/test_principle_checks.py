import pytest

from rlhf_core.constitution.load import examine_text

HEAD = """\
schema: constitution/v1
id: home
version: 1.0.0
title: At home
objectives: {helpful: {}}
principles:
  - id: doses
    serves: {helpful: 1}
"""
GOOD = f"""{HEAD}\
    severity: high
    applies_when: {{tags_any: [health], tags_none: [pets], language: [en]}}
    critique: Read {{response}}. Does it state {{{{a}}}} dose?
    revise: Take {{critique}} to heart and keep the rest.
    compare: Is {{response_a}} or {{response_b}} safer?
    rules:
      - {{id: no-number, pattern: '[0-9]{{1,4}} ?(mg|ml)', expect: "no", penalty: 0.5}}
      - {{id: kind, ask: Is it kind?, expect: "yes"}}
    examples:
      - {{prompt: how much, bad: Take 20 mg., critique: A dose., good: Ask a pharmacist.}}
    tests:
      - {{prompt: what is it, prefer: It eases pain., over: I cannot say., min_margin: 0.2}}
    references: [{{label: H-4, url: "https://example.org"}}]
"""


def problems(text: str) -> list[str]:
    return [str(problem) for problem in examine_text(text, "c").problems]


def test_a_principle_that_uses_every_key_is_fine():
    constitution, found = examine_text(GOOD, "c")
    assert found == () and constitution is not None
    [principle] = constitution.principles
    assert (
        principle.severity == "high" and principle.rules[0].penalty == 0.5 and principle.rules[1].ask == "Is it kind?"
    )
    assert principle.tests[0].min_margin == 0.2 and principle.examples[0].good == "Ask a pharmacist."
    assert principle.critique == "Read {response}. Does it state {{a}} dose?"


def test_examples_keep_a_rule_for_some_prompts_too_as_they_have_no_tags_that_could_excuse_them():
    text = GOOD.replace("penalty: 0.5", "applies_when: {tags_any: [pills]}").replace("Ask a pharmacist", "Take 5ml")
    assert [one.split(";")[0] for one in problems(text)] == [
        'c:18:71 C050 good breaks the principle\'s own rule "no-number"'
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("severity: high", "severity: hgih", '9:15 C011 principles.0.severity cannot be "hgih"; did you mean "high"'),
        ("severity: high", "severity: true", "9:15 C011 principles.0.severity cannot be true; put it in quotes;"),
        ("tags_any", "tags_ayn", '10:20 C010 unknown key "tags_ayn"; did you mean "tags_any"? known: tags_any, tags_'),
        ("tags_any: [health]", "tags_any: health", '10:30 C011 principles.0.applies_when.tags_any is "health", not a'),
        ("[en]", "[true]", "10:70 C011 principles.0.applies_when.language.0 is true, not text; put it in quotes"),
        ("Read {response}.", "Read {prompt}.", "11:15 C030 critique uses placeholders, but lacks {response}; say"),
        ("Is {response_a} or", "Is {response_b} or", "13:14 C030 compare uses placeholders, but lacks {response_a}"),
        ("Read {response}.", "Read {respons} {response}.", '11:15 C031 critique cannot use the placeholder {respons};'),
        ("Take {critique} to", "Take {response_a} to", "12:13 C031 revise cannot use the placeholder {response_a}"),
        ("{{a}} dose", "{a dose", "11:15 C031 critique has a brace that belongs to no placeholder; write {{ for one"),
        ("id: kind, ask", "id: no-number, ask", '16:14 C020 the rule id "no-number" is used on lines 15 and 16; give'),
        ("id: kind, ask", "id: Kind, ask", '16:14 C021 the id "Kind" is not allowed; lower-case words'),
        ("ask: Is it kind?, ", "", "16:9 C034 a rule needs either ask or pattern; give it one of them"),
        ("ask: Is it kind?, ", "ask: a, pattern: b, ", "16:9 C034 a rule needs either ask or pattern; give it one"),
        ("{1,4} ?", "+ ?", '15:34 C034 the pattern "[0-9]+ ?(mg|ml)" cannot be used: it repeats without a bound'),
        ('expect: "yes"', 'expect: "maybe"', '16:46 C011 principles.0.rules.1.expect cannot be "maybe"; known: yes'),
        ('expect: "no", ', "", "15:9 C013 the key \"expect\" is missing; add expect: ..."),
        ("penalty: 0.5", "penalty: -1", "15:80 C024 principles.0.rules.0.penalty is -1; allowed: a number from 0 to 1"),
        (", good: Ask a pharmacist.", "", '18:9 C050 the key "good" is missing; add good: ...'),
        ("good: Ask", "approval: 'Verdict: complies', good: Ask", "18:75 C050 approval holds a verdict; leave it"),
        ("good: Ask a pharmacist.", "good: Take 5ml.", "18:71 C050 good breaks the principle's own rule \"no-number\""),
        ("good: Ask a pharmacist.", "good: Take 20  mg.", "18:71 C050 good and bad are the same text; make"),
        ("bad: Take 20 mg.", 'bad: ""', "18:33 C032 principles.0.examples.0.bad is empty; write something"),
        ("prefer: It eases pain.", "prefer: 5 mg help.", "20:38 C050 prefer breaks the principle's own rule"),
        ("over: I cannot say., ", "", '20:9 C050 the key "over" is missing; add over: ...'),
        ("min_margin: 0.2", "min_margin: 2", "20:87 C024 principles.0.tests.0.min_margin is 2; allowed: a number"),
        ("min_margin", "min_margn", '20:75 C010 unknown key "min_margn"; did you mean "min_margin"?'),
        ("label: H-4, ", "", '21:18 C013 the key "label" is missing; add label: ...'),
        ("revise: Take {critique} to heart and keep the rest.", "title: x", "11:5 C033 critique without revise; add"),
    ],
)  # fmt: skip
def test_each_mistake_in_a_principle_is_named_with_its_place(old, new, expected):
    assert GOOD.count(old) == 1
    found = problems(GOOD.replace(old, new))
    assert any(problem.startswith(f"c:{expected}") for problem in found), found
    assert len([problem for problem in found if " C" in problem]) <= 3


def test_a_text_too_long_for_the_judge_is_a_mistake_in_every_part():
    long = "x" * 4001
    for old in ("Ask a pharmacist.", "It eases pain.", "Is it kind?", "A dose."):
        [found] = [line for line in problems(GOOD.replace(old, long)) if "C032" in line]
        assert "has 4001 characters; allowed: at most 4000" in found


def test_more_rules_than_can_be_run_on_every_reply_are_a_mistake():
    rules = "".join(f'      - {{id: r{at}, ask: Is it {at}?, expect: "yes"}}\n' for at in range(17))
    found = problems(f"{HEAD}    compare: Which?\n    rules:\n{rules}")
    assert any("C034 the principle has 17 rules; allowed: at most 16" in line for line in found), found
