from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rlhf_core.feedback.templates import compare_conversation, critique_conversation, fill, revise_conversation
from rlhf_core.records.samples import Message, Prompt


def test_values_are_inserted_once_and_never_read_again():
    assert fill("{a}-{b}-{c}", a="{b}", b="x") == "{b}-x-{c}"


@given(st.text(), st.text())
def test_a_reply_that_speaks_to_the_judge_stays_data(a: str, b: str):
    (message,) = compare_conversation(Prompt.of("How?"), a, b, "Which is safer?")
    assert message.content == f"How?\n\nReply A:\n{a}\n\nReply B:\n{b}\n\nWhich is safer? Answer A or B."


def test_a_critique_keeps_the_whole_conversation_and_who_said_what():
    turns = tuple(Message(role=r, content=c) for r, c in [("user", "1"), ("assistant", "2"), ("user", "3")])
    prompt = Prompt.from_messages(turns)
    conversation = revise_conversation(prompt, "answer", "Check it.", "Verdict: complies", "Rewrite it.")
    assert [m.role for m in conversation] == ["user", "assistant", "user"]
    assert conversation[:1] == critique_conversation(prompt, "answer", "Check it.")
    assert conversation[0].content.startswith(
        "Check it.\n\nuser: 1\n\nassistant: 2\n\nuser: 3\n\nReply:\nanswer\n\nGo line by line"
    )
