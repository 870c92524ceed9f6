"""The conversations in which a model criticises, revises and judges. Text is data: placeholders, no code."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

from rlhf_core.constitution.validation.placeholders import placeholders, render
from rlhf_core.records.samples import Message, Prompt

PLACES = {
    "prompt": "{conversation}\n\n",
    "response": "Reply:\n{response}\n\n",
    "response_a": "Reply A:\n{a}\n\n",
    "response_b": "Reply B:\n{b}\n\n",
}
"""Placeholder -> the part of a template that shows the same."""
CRITIQUE_FORMAT = 'Go line by line, quote the words at fault, end with "Verdict:" and complies, borderline or violates.'
REVISE_FORMAT = "Write only the new reply."
NOTES_FORMAT = "Note what each line risks, what it gives, and which reply does better."
COMPARE_FORMAT = "Answer A or B."
LABELS = ("A", "B")

CRITIQUE_TEMPLATE = "{request}\n\n{conversation}\n\nReply:\n{response}\n\n{format}"
REVISE_TEMPLATE = "{request} {format}"
PAIR_TEMPLATE = "{conversation}\n\nReply A:\n{a}\n\nReply B:\n{b}\n\n{request}"
NOTES_TEMPLATE = "Now two other replies.\n\nReply A:\n{a}\n\nReply B:\n{b}\n\n{request}"


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


CRITIQUE_HASH = _hash(CRITIQUE_TEMPLATE, REVISE_TEMPLATE, CRITIQUE_FORMAT, REVISE_FORMAT)
COMPARE_HASH = _hash(PAIR_TEMPLATE, COMPARE_FORMAT, *LABELS)
NOTES_HASH = _hash(NOTES_TEMPLATE, NOTES_FORMAT, COMPARE_FORMAT, *LABELS)


def fill(template: str, **values: str) -> str:
    """Insert each value once; braces inside a value are never read again."""
    pieces, rest = [], template
    while rest:
        start = rest.find("{")
        end = rest.find("}", start)
        if start < 0 or end < 0:
            break
        name = rest[start + 1 : end]
        if name in values:
            pieces += [rest[:start], values[name]]
        else:
            pieces.append(rest[: end + 1])
        rest = rest[end + 1 :]
    return "".join(pieces) + rest


def critique_conversation(prompt: Prompt, response: str, request: str) -> tuple[Message, ...]:
    """Put the request first, so that the critic reads the reply with it in mind."""
    conversation = transcript(prompt.messages)
    template, request = place(CRITIQUE_TEMPLATE, request, prompt=conversation, response=response)
    ask = fill(
        template,
        request=request,
        conversation=conversation,
        response=response,
        format=CRITIQUE_FORMAT,
    )
    return (Message(role="user", content=ask),)


def revise_conversation(
    prompt: Prompt, response: str, critique_request: str, critique: str, request: str
) -> tuple[Message, ...]:
    """Continue the critique's conversation: the critic is asked for the reply that it would have liked."""
    said = {"prompt": transcript(prompt.messages), "response": response, "critique": critique}
    template, request = place(REVISE_TEMPLATE, request, **said)
    ask = fill(template, request=request, format=REVISE_FORMAT)
    return (
        *critique_conversation(prompt, response, critique_request),
        Message(role="assistant", content=critique),
        Message(role="user", content=ask),
    )


def transcript(messages: Sequence[Message]) -> str:
    """Write the conversation as text; a single user turn stands alone."""
    if len(messages) == 1:
        return messages[0].content
    return "\n\n".join(f"{message.role}: {message.content}" for message in messages)


def compare_conversation(
    prompt: Prompt, first: str, second: str, question: str, form: str = COMPARE_FORMAT
) -> tuple[Message, ...]:
    """Put the question last, so that all principles' questions on one pair share what comes before."""
    conversation = transcript(prompt.messages)
    request = f"{question} {form}"
    template, request = place(PAIR_TEMPLATE, request, prompt=conversation, response_a=first, response_b=second)
    ask = fill(template, conversation=conversation, a=first, b=second, request=request)
    return (Message(role="user", content=ask),)


def notes_conversation(prompt: Prompt, answer: str, first: str, second: str) -> tuple[Message, ...]:
    """Ask a judge, which has answered the prompt itself, for notes on two replies, not yet for a choice."""
    ask = fill(NOTES_TEMPLATE, a=first, b=second, request=NOTES_FORMAT)
    return (*prompt.messages, Message(role="assistant", content=answer), Message(role="user", content=ask))


def question_turn(prompt: Prompt, first: str, second: str, question: str, form: str = COMPARE_FORMAT) -> Message:
    """Ask a judge that has taken notes; what the question is about comes last: that is what the answer looks up."""
    _, question = place("", question, prompt=transcript(prompt.messages), response_a=first, response_b=second)
    return Message(role="user", content=f"{form} {question}")


def place(template: str, text: str, **values: str) -> tuple[str, str]:
    """Return the template without what the text shows itself, and the text with its placeholders filled.

    `values` are by placeholder. A text without placeholders leaves the template as it is.
    """
    used = placeholders(text)
    for name in used:
        template = template.replace(PLACES.get(name, "\0"), "")
    return template, render(text, {name: fenced(value) for name, value in values.items()})


def fenced(value: str) -> str:
    """Put the value, as data, between lines of backticks that it cannot close by itself."""
    longest = max(map(len, re.findall("`+", value)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"\n{fence}\n{value}\n{fence}\n"
