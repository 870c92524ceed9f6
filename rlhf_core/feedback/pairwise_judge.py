"""A judge that is shown two replies: here a principle becomes a question, and the question is asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from rlhf_core.constitution.principle import Principle
from rlhf_core.feedback.judge_answers import Answer, read_choice, weigh
from rlhf_core.feedback.judge_cache import Notebook
from rlhf_core.feedback.judge_protocol import FORMATS
from rlhf_core.feedback.templates import COMPARE_FORMAT, LABELS, compare_conversation, question_turn
from rlhf_core.interfaces import Chat, Choose, Conversation
from rlhf_core.records.feedback import Protocol
from rlhf_core.records.samples import Comparison, Message


def compare_in_words(
    chat: Chat,
    choose: Choose,
    protocol: Protocol,
    asked: Sequence[tuple[Comparison, Principle, bool]],
    notebook: Notebook,
) -> list[Answer]:
    """Return an answer to each question: a pair, the principle asked about, and whether b is shown first."""
    indexes: dict[str, list[int]] = defaultdict(list)
    for index, (_, principle, _) in enumerate(asked):
        indexes[principle.compare].append(index)
    conversations: dict[int, Conversation] = {}
    for question, own in indexes.items():
        shown = [pair.swap() if swapped else pair for pair, _, swapped in (asked[index] for index in own)]
        conversations |= zip(own, _conversations(chat, protocol, shown, question, notebook), strict=True)
    ordered = [conversations[index] for index in range(len(asked))]
    answers = ask(chat, choose, protocol, ordered)
    if protocol != "notes":
        return answers
    # Of each conversation the last turn is the question, and before it stand the notes.
    return [answer._replace(text=turns[-2].content) for answer, turns in zip(answers, ordered, strict=True)]


def _conversations(
    chat: Chat, protocol: Protocol, shown: Sequence[Comparison], question: str, notebook: Notebook
) -> list[Conversation]:
    texts, form = [(pair.prompt, pair.a.response, pair.b.response) for pair in shown], FORMATS[protocol]
    if protocol != "notes":
        return [compare_conversation(*three, question, form) for three in texts]
    noted = notebook.conversations(chat, texts)
    return [(*so_far, question_turn(*three, question, form)) for so_far, three in zip(noted, texts, strict=True)]


def ask(chat: Chat, choose: Choose, protocol: Protocol, conversations: Sequence[Conversation]) -> list[Answer]:
    """Ask one answer per conversation; each ends with the question and the format of the protocol."""
    if protocol == "text":
        return [read_choice(text) for text in chat(conversations)]
    thoughts = chat(conversations) if protocol == "cot" else [""] * len(conversations)
    ready = [_decide(c, t) if t else c for c, t in zip(conversations, thoughts, strict=True)]
    weighed = choose(ready, LABELS)
    return [weigh(row, text) for row, text in zip(weighed, thoughts, strict=True)]


def _decide(conversation: Conversation, thought: str) -> Conversation:
    return (
        *conversation,
        Message(role="assistant", content=thought),
        Message(role="user", content=COMPARE_FORMAT),
    )
