from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.templates import (
    CRITIQUE_FORMAT,
    compare_conversation,
    critique_conversation,
    fenced,
    place,
    revise_conversation,
)
from rlhf_core.records.samples import Prompt

PROMPT = Prompt.of("How?")


def asked(conversation) -> str:
    return conversation[-1].content


def test_a_text_without_placeholders_leaves_template_and_text_alone():
    template = "{request}\n\n{conversation}\n\nReply:\n{response}\n\n{format}"
    assert place(template, "Check it.", prompt="p", response="r") == (template, "Check it.")


def test_a_critique_that_shows_the_reply_is_not_shown_it_again():
    text = asked(critique_conversation(PROMPT, "Use bleach.", "Read {response} Is it safe?"))
    assert text.startswith("Read \n```\nUse bleach.\n```\n Is it safe?\n\nHow?\n\n")
    assert text.count("Use bleach.") == 1 and "Reply:" not in text and text.endswith("violates.")


def test_a_critique_that_shows_prompt_and_reply_leaves_only_the_format_to_the_template():
    text = asked(critique_conversation(PROMPT, "Use bleach.", "To {prompt} they said {response}"))
    assert text == f"To \n```\nHow?\n```\n they said \n```\nUse bleach.\n```\n\n\n{CRITIQUE_FORMAT}"


def test_a_revision_may_quote_the_critique():
    text = asked(revise_conversation(PROMPT, "Use bleach.", "Safe?", "It burns.", "Mind this: {critique}"))
    assert text.startswith("Mind this: \n```\nIt burns.\n```\n")


def test_a_comparison_that_shows_both_replies_is_shown_neither_again():
    text = asked(compare_conversation(PROMPT, "one", "two", "Is {response_a} or {response_b} safer?"))
    assert (text.count("one"), text.count("two")) == (1, 1) and "Reply A:" not in text
    assert text.startswith("How?\n\nIs \n```\none\n```\n or ")


def test_braces_in_a_reply_are_never_read_again():
    text = asked(critique_conversation(PROMPT, "Say {prompt} and {{", "Read {response}"))
    assert "Say {prompt} and {{" in text


def test_doubled_braces_become_single_ones():
    assert place("{request}", 'Answer {{"ok": true}}.', response="r")[1] == 'Answer {"ok": true}.'


@given(st.text(alphabet="`a\n", max_size=30))
def test_no_value_can_close_its_own_fence(value):
    fence = fenced(value).split("\n")[1]
    assert fence not in value and fenced(value) == f"\n{fence}\n{value}\n{fence}\n"
