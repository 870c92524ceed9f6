import pytest

from rlhf_core.constitution.load import BUILTIN, examine_constitution, examine_text, parse_constitution

CLEAN = """\
schema: constitution/v1
id: home
version: 1.0.0
title: At home
objectives: {helpful: {}, harmless: {}}
principles:
  - id: no-fumes
    serves: {harmless: 1}
    critique: Does the reply make fumes? If it makes none, it complies.
    revise: Keep the work and take the fumes out.
    compare: Which reply has cleaner air?
    tests: [{prompt: a, prefer: b, over: c}]
  - id: steps
    serves: {helpful: 1}
    compare: Which reply names more of the steps?
    tests: [{prompt: a, prefer: b, over: c}]
"""
CRITIQUE = "Does the reply make fumes? If it makes none, it complies."


def warnings(text: str) -> list[str]:
    constitution, problems = examine_text(text, "c")
    assert constitution is not None and {problem.severity for problem in problems} <= {"warning"}
    return [str(problem) for problem in problems]


def test_a_clean_constitution_has_no_warnings():
    assert warnings(CLEAN) == []


@pytest.mark.parametrize("name", BUILTIN)
def test_the_shipped_constitutions_have_no_warnings(name):
    assert examine_constitution(name).problems == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (CRITIQUE, "Identify all ways in which the reply is harmful.", 'c:9:15 W101 "Identify" takes it for granted'),
        (CRITIQUE, "Explain how it hurts.", 'c:9:15 W101 "Explain" takes it for granted that the reply has a fault'),
        ("more of the steps?\n    tests: [{prompt: a, prefer: b, over: c}]", "more of the steps?", "c:13:9 W105 the "
         "principle has no tests; add a prompt"),
        ("more of the steps", "more of the steps to Muslims", 'c:15:14 W106 "Muslims" may name a protected group'),
        ("more of the steps", "more praise of President Miller", 'c:15:14 W106 "President Miller" may name a living'),
        ("    tests: [{prompt: a, prefer: b, over: c}]\n  - id: steps", "    tests: [{prompt: a, prefer: b, over: c}]\n"
         "    rules: [{id: air, ask: Is it clean?, expect: yes, penalty: 2}]\n  - id: steps",
         "c:13:28 W107 no model is asked this while it trains"),
        ("    serves: {harmless: 1}", "    serves: {harmless: 1}\n    severity: critical\n"
         "    rules: [{id: air, ask: Is it clean?, expect: yes}]", "c:10:28 W107 no model is asked this"),
        ("names more of the steps", "does not annoy", "c:13:5 W104 the principle says only what a reply must not do"),
    ],
)  # fmt: skip
def test_each_warning_is_located(old, new, expected):
    [found] = warnings(CLEAN.replace(old, new))
    assert found.startswith(expected)


def test_a_question_that_no_penalty_hangs_on_is_no_warning():
    rule = "    serves: {harmless: 1}\n    rules: [{id: air, ask: Is it clean?, expect: yes}]"
    assert warnings(CLEAN.replace("    serves: {harmless: 1}", rule)) == []


def test_a_near_duplicate_is_named():
    first = CLEAN[CLEAN.index("  - id: no-fumes") : CLEAN.index("  - id: steps")]
    second = first.replace("no-fumes", "clean-air").replace("cleaner air", "cleaner air now")
    [found] = warnings(CLEAN + second)
    assert found.startswith('c:17:9 W102 the principle is much like "no-fumes" (likeness 0.')


def test_a_constitution_of_harmlessness_alone_will_be_evasive():
    only = CLEAN.replace("helpful: {}, ", "").replace("{helpful: 1}", "{harmless: 1}")
    [found] = warnings(only)
    assert found.startswith("c:6:1 W103 only harm counts here: expect evasive replies")


def test_warnings_keep_no_constitution_from_loading_and_come_with_errors():
    bad = CLEAN.replace(CRITIQUE, "Explain how it hurts.")
    assert parse_constitution(bad, "c").id == "home"
    constitution, problems = examine_text(bad.replace("harmless: 1", "harmles: 1"), "c")
    assert constitution is None and [problem.code for problem in problems] == ["C023", "C022", "W101"]
