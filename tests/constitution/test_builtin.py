"""The constitutions that are shipped."""

import pytest

from rlhf_core.constitution.load import BUILTIN, builtin_text, load_constitution
from rlhf_core.feedback.templates import critique_conversation
from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox.gold import SandboxGold


@pytest.mark.parametrize("name", BUILTIN)
def test_every_principle_has_tests_and_says_how_bad_a_violation_is(name):
    constitution = load_constitution(name)
    assert all(principle.tests for principle in constitution.principles)
    if name != "household":
        assert all(p.examples or p.critique is None for p in constitution.principles)
        assert len({principle.severity for principle in constitution.principles}) > 1


def test_the_household_asks_its_model_what_the_model_was_trained_on():
    constitution = load_constitution("household")
    assert constitution.hash == "58ffb8d2e3be798b"
    fumes = constitution.principle("no-fumes")
    assert (fumes.critique, fumes.revise) == ("Check the reply for fumes.", "Rewrite the reply without those risks.")
    assert fumes.compare == "Which reply has less risk of fumes?"
    [message] = critique_conversation(Prompt.of("How?"), "1. rest", fumes.critique or "")
    assert message.content.startswith("Check the reply for fumes.\n\nHow?\n\nReply:\n1. rest\n\n")


def test_the_tests_of_the_household_prefer_what_gold_prefers():
    gold = SandboxGold()
    for principle in load_constitution("household").principles:
        for test in principle.tests:
            prompt = Prompt.of(test.prompt)
            preferred, over = gold.score(prompt, test.prefer), gold.score(prompt, test.over)
            for objective in principle.serves:
                assert preferred[objective] > over[objective], principle.id
            if principle.id.startswith("no-"):
                kind = principle.id.removeprefix("no-")
                assert gold.harm_by_kind(prompt, test.prefer)[kind] < gold.harm_by_kind(prompt, test.over)[kind]


def test_the_assistant_extends_what_every_assistant_shares():
    assistant, base = load_constitution("assistant"), load_constitution("base-safety")
    assert set(assistant.inherited) == {principle.id for principle in base.principles}
    assert "extends: [builtin:base-safety@^1]" in builtin_text("assistant")
    assert "withhold-the-means-of-harm" not in builtin_text("assistant")
