"""One row's conversation: chat messages, or one text in the form of hh-rlhf, as prompt and replies.

In that form "Human:" and "Assistant:" begin each turn, after an empty line as a rule. Ids derive from the content.
"""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from rlhf_core.data.jsonl import RowError, is_absent, kind_of, read_text
from rlhf_core.data.row_keys import OF_A_MESSAGE, refuse_unread
from rlhf_core.records.base import content_id
from rlhf_core.records.samples import Comparison, Message, Prompt, Role, Sample, Split

DATA_POLICY = "data"
"""The policy version of responses that came with the user's data."""

_ROLES = get_args(Role)
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_MARKER = re.compile(r"^[ \t]*(?:#+[ \t]*)?(?:Human|Assistant):", re.MULTILINE)
_TURN = re.compile(r"(?:\A\s*|\n[ \t\r]*\n[ \t]*)(Human|Assistant):")
_LINE = re.compile(r"(?:\A\s*|\n[ \t]*)(Human|Assistant):")


def read_pair(row: dict[str, Any], source: str) -> tuple[Prompt, str, str]:
    """Read one row's prompt, its chosen reply and its rejected one."""
    if "prompt" in row:
        prompt = asked(row)
        chosen, rejected = (reply_under(row, key, prompt) for key in ("chosen", "rejected"))
    else:
        prompt, chosen, rejected = _shared_prompt(row)
    if chosen == rejected:
        raise RowError("'chosen' and 'rejected' are identical")
    return prompt_record(prompt, source, tags=tags_of(row)), chosen, rejected


def imported_pair(prompt: Prompt, first: str, second: str) -> Comparison:
    """Return two replies that came with the user's data as samples a and b of the prompt."""
    a, b = (_sample(prompt, response) for response in (first, second))
    return Comparison(id=content_id("comparison", a.id, b.id), a=a, b=b)


def conversation(row: dict[str, Any], key: str) -> tuple[Message, ...]:
    """Read the messages under this key; plain text is one user turn."""
    if key not in row:
        raise RowError(f"the key '{key}' is missing; the row has: {', '.join(map(json.dumps, row)) or 'none'}"[:300])
    value = row[key]
    if isinstance(value, str):
        return dialogue(read_text(value, key), key) or (Message(role="user", content=value),)
    if not isinstance(value, list):
        raise RowError(f"'{key}' is {kind_of(value)}; expected text or a list of messages")
    return tuple(_message(message, f"{key}[{index}]") for index, message in enumerate(value))


def asked(row: dict[str, Any]) -> tuple[Message, ...]:
    """Return the messages of the prompt, without the cue "Assistant:" at the end of the text form."""
    messages = conversation(row, "prompt")
    return messages[:-1] if messages and messages[-1] == Message(role="assistant", content="") else messages


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise RowError(f"'{name}' is not a message with a role and a content")
    if value["role"] not in _ROLES:
        raise RowError(f"'{name}.role' is {json.dumps(value['role'])[:60]}; allowed: {', '.join(_ROLES)}")
    refuse_unread(value, OF_A_MESSAGE, name=name)
    if isinstance(value["content"], list):
        raise RowError(f"'{name}.content' is a list of parts; expected text")
    return Message(role=value["role"], content=read_text(value["content"], f"{name}.content"))


def dialogue(text: str, name: str) -> tuple[Message, ...]:
    """Read the hh-rlhf text form as messages, none if it is not that form.

    Turns of one speaker in a row are one message.

    A text is of that form wherever its turn markers stand. RowError where something comes before the first of them:
    then nobody knows whose words that is.
    """
    markers = list(_MARKER.finditer(text))
    if not markers:
        return ()
    first = markers[0]
    if text[: first.start()].strip() or "#" in first.group():
        raise RowError(
            f"'{name}' has the turn marker '{first.group().strip()}' in it and is no transcript; allowed: text that "
            "begins with 'Human:' or 'Assistant:', text without them, or a list of messages"
        )
    parts = _TURN.split(text)[1:]
    if len(parts) < 4 <= 2 * len(markers):  # turns without an empty line between them
        parts = _LINE.split(text)[1:]
    messages: list[Message] = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        role, content = _SPEAKERS[speaker], content.strip()
        if messages and messages[-1].role == role:
            content = f"{messages.pop().content}\n\n{content}"
        messages.append(Message(role=role, content=content))
    return tuple(messages)


def tags_of(row: dict[str, Any]) -> tuple[str, ...]:
    tags = row.get("tags", [])
    if not isinstance(tags, list):
        raise RowError(f"'tags' is {kind_of(tags)}; expected a list of texts")
    return tuple(read_text(tag, "tags") for tag in tags if not is_absent(tag))


def prompt_record(
    messages: tuple[Message, ...], source: str, split: Split = "train", tags: tuple[str, ...] = ()
) -> Prompt:
    if not messages or messages[-1].role != "user":
        raise RowError("the prompt does not end with a user's turn")
    if not messages[-1].content.strip():
        raise RowError("the prompt is empty")
    return Prompt.from_messages(messages, split=split, source=source, tags=tags)


def split_last(messages: tuple[Message, ...], name: str) -> tuple[tuple[Message, ...], str]:
    """Split a conversation into what comes before the last message, and its text."""
    if not messages or messages[-1].role != "assistant":
        raise RowError(f"'{name}' does not end with an assistant's turn")
    return messages[:-1], messages[-1].content


def reply_under(row: dict[str, Any], key: str, prompt: tuple[Message, ...]) -> str:
    """Return the reply under this key: text, an assistant's message, or the whole conversation, the prompt included."""
    if isinstance(row.get(key), str) and not dialogue(read_text(row[key], key), key):
        return row[key]
    before, reply = split_last(conversation(row, key), key)
    if before and before != prompt:
        raise RowError(f"'{key}' is a conversation that does not go on from 'prompt' by one reply")
    return reply


def _shared_prompt(row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """The prompt that two whole conversations share, and the reply of each."""
    for key in ("chosen", "rejected"):
        if isinstance(row.get(key), str) and not dialogue(read_text(row[key], key), key):
            raise RowError(f"there is no 'prompt', and '{key}' is not a conversation")
    prompt, chosen = split_last(conversation(row, "chosen"), "chosen")
    other, rejected = split_last(conversation(row, "rejected"), "rejected")
    if prompt != other:
        raise RowError("'chosen' and 'rejected' differ before the last reply")
    return prompt, chosen, rejected


def _sample(prompt: Prompt, response: str) -> Sample:
    identity = content_id("sample", DATA_POLICY, prompt.id, response)
    return Sample(id=identity, prompt=prompt, response=response, policy_version=DATA_POLICY)
