from collections.abc import Sequence

from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.templates import NOTES_FORMAT
from rlhf_core.interfaces import Conversation
from rlhf_core.records.samples import Message, Prompt

TEA, RICE = Prompt.of("How do I make tea?"), Prompt.of("How do I cook rice?")


class Judge:
    """Answers with the number of the turn that it was asked for, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Conversation] = []

    def __call__(self, conversations: Sequence[Conversation]) -> list[str]:
        self.asked += conversations
        return [f"turn {len(self.asked) - len(conversations) + i}" for i in range(len(conversations))]


def test_a_judge_answers_the_prompt_itself_before_it_notes_what_others_said():
    judge = Judge()
    [conversation] = Notebook().conversations(judge, [(TEA, "boil water", "fetch milk")])
    prompt, answer, shown, notes = conversation
    assert [turn.role for turn in conversation] == ["user", "assistant", "user", "assistant"]
    assert (prompt.content, answer.content, notes.content) == ("How do I make tea?", "turn 0", "turn 1")
    assert shown.content.index("Reply A:\nboil water") < shown.content.index("Reply B:\nfetch milk")
    assert shown.content.endswith(NOTES_FORMAT)


def test_a_prompt_is_answered_once_and_a_pair_noted_once_in_each_order():
    judge, notebook = Judge(), Notebook()
    notebook.conversations(judge, [(TEA, "a", "b"), (TEA, "b", "a"), (RICE, "a", "b"), (TEA, "a", "b")])
    assert len(judge.asked) == 2 + 3
    again = notebook.conversations(judge, [(TEA, "b", "a"), (TEA, "a", "c")])
    assert len(judge.asked) == 2 + 3 + 1
    assert [turn.content for turn in again[0]][-1] == "turn 3"


def test_what_was_said_before_the_question_goes_with_it():
    talk = Prompt(id="p", messages=(*TEA.messages, Message(role="assistant", content="So."), *RICE.messages))
    [conversation] = Notebook().conversations(Judge(), [(talk, "a", "b")])
    assert conversation[:3] == talk.messages


def test_a_notebook_that_was_cleared_begins_anew():
    judge, notebook = Judge(), Notebook()
    for _ in range(2):
        notebook.conversations(judge, [(TEA, "a", "b")])
        notebook.clear()
    assert len(judge.asked) == 4
