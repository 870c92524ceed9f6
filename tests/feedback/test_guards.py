from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.feedback.revision_guards import GUARDS, Attempt, fault, misunderstood, strip_prefix
from rlhf_core.records.samples import Message, Prompt

BEFORE = "Pour the acid into the drain and wait."
CRITIQUE = '"Pour the acid" risks fumes.\nVerdict: violates'
CONFIG = CritiqueConfig()


def found(after: str, before: str = BEFORE, tags: tuple[str, ...] = (), asked: str = "How do I clear a drain?") -> str:
    return fault(Attempt(Prompt.of(asked, tags=tags), CRITIQUE, before, after), CONFIG)


@pytest.mark.parametrize(
    ("after", "reason"),
    [
        ("Pour the soda into the drain and wait.", ""),
        ("", "empty"),
        (" \n", "empty"),
        (BEFORE + "\n", "unchanged"),
        (CRITIQUE, "role_drift"),
        (CRITIQUE.replace(":", ""), "role_drift"),
        ("The assistant should say soda, and wait.", "role_drift"),
        ("The assistant's last reply named acid.", "role_drift"),
        ("Ask the assistant at the shop for soda.", ""),
        ("System: any. Use soda, then please wait.", ""),
        ("The reply is dangerous for the lungs.", "role_drift"),
        ("Use soda and wait.\n\nHuman: thanks", "role_drift"),
        ("Use soda and wait.<|im_end|> Use soda.", "role_drift"),
        ("Critique: use soda and then wait.", "role_drift"),
        ("Reply A: use soda and then wait.", "role_drift"),
        ("Sure, here is a way with soda instead.", "leak"),
        ("Here is a reply without the acid.", "leak"),
        ("I've rewritten it: use soda and wait.", "leak"),
        ("I'm sorry, I can't help you with that.", "over_refusal"),
        ("It is important to be safe. It is never okay to pour acid.", "preaching"),
        ("1. Pour the soda in.\n2. Pour the soda in.", "repeats"),
        ("1. Pour the soda in.\n2.\n3. Wait.", "repeats"),
        ("1. 1. 1. 2.\n3. Pour the soda in.", "repeats"),
        ("1. Pour the soda in.\n2. Wait.\n3. Wait.", ""),
        ("Use soda, and then wait until\n20.", ""),
        ("Use soda.", "length"),
        ("Use soda " * 7, "length"),
    ],
)
def test_each_failure_has_its_reason(after: str, reason: str):
    assert found(after) == reason


@pytest.mark.parametrize(
    "before",
    ["Human: hi there, my dear old friend", "The assistant is a person", "Sure, here is how", "I'm sorry, I can't"],
)
def test_what_the_answer_did_before_is_no_fault_of_the_revision(before: str):
    assert found(before + " now", before) == ""


def test_words_of_the_prompt_are_no_role_drift():
    assert found("User: please use soda. I wait.", asked="Continue.\nUser: please use acid.\nYou: I wait.") == ""


def test_a_refusal_is_wrong_on_a_benign_prompt_right_on_a_harmful_one_and_between_must_give_more_than_a_no():
    bare = "I'm sorry, I can't help you with that."
    reasoned = (
        "I can't tell you how to pour it, since the fumes burn the lungs; " + "but try hot water and soda first. "
    )
    long = f"{BEFORE} " * 4
    assert [found(bare, tags=(tag,)) for tag in ("benign", "harmful", "other")] == ["over_refusal", "", "over_refusal"]
    assert found(reasoned * 2, long, ("benign",)) == "over_refusal"
    assert found(reasoned * 2, long) == ""


def test_sympathy_is_no_refusal():
    assert found("I'm sorry to hear that. Pour soda and wait.", tags=("benign",)) == ""


def test_the_bounds_of_length_are_the_configurations():
    strict = CritiqueConfig(min_length_ratio=1, max_length_ratio=1)
    attempt = Attempt(Prompt.of("How?"), CRITIQUE, "one two three four", "one two three")
    assert (fault(attempt, CONFIG), fault(attempt, strict)) == ("", "length")


@pytest.mark.parametrize(
    ("after", "stripped"),
    [
        ("Revision: use soda", "use soda"),
        ("Reply:\nuse soda", "use soda"),
        ("**Revised answer:** use soda", "use soda"),
        ("The new reply: use soda", "use soda"),
        ("Here's the revised response, without acid:\n\nuse soda", "use soda"),
        ("Sure! Here is my improved reply: use soda", "use soda"),
        ("Sure, here is how: use soda", "Sure, here is how: use soda"),
        ("Note: use soda", "Note: use soda"),
        ("use soda, my reply: yes", "use soda, my reply: yes"),
        ("Revision:", "Revision:"),
    ],
)
def test_only_a_label_is_taken_off_the_start(after: str, stripped: str):
    assert strip_prefix(after, BEFORE) == stripped


def test_a_label_that_the_answer_had_before_stays():
    assert strip_prefix("Answer: 4", "Answer: 5") == "Answer: 4"


@given(st.text(), st.text(), st.text(), st.text(min_size=1))
def test_any_text_passes_or_has_one_known_reason_and_what_is_worth_asking_again_has_one_too(
    critique: str, before: str, after: str, asked: str
):
    prompt = Prompt.from_messages((Message(role="user", content=asked),))
    attempt = Attempt(prompt, critique, before, strip_prefix(after, before))
    assert fault(attempt, CONFIG) in {"", *(guard.reason for guard in GUARDS)}
    if misunderstood(attempt):
        assert fault(attempt, CONFIG) in ("empty", "unchanged", "role_drift", "leak")
