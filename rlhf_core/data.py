"""The user's own data: JSON lines in the Hugging Face preference formats, plain text or chat messages.

A conversation is a list of {"role", "content"} messages, or one text in the form of hh-rlhf, where "Human:" and
"Assistant:" begin each turn after an empty line. Ids derive from the content: importing a file again changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, get_args

from rlhf_core.errors import InvalidInput
from rlhf_core.records import Comparison, Demonstration, Message, Prompt, Role, Sample, Split, content_id

DATA_POLICY = "data"
"""The policy version of responses that came with the user's data."""
MAX_LINE_BYTES = 16_000_000
MAX_SHOWN = 20

_ROLES = get_args(Role)
_SPEAKERS: dict[str, Role] = {"Human": "user", "Assistant": "assistant"}
_TURN = re.compile(r"\n\n(Human|Assistant):")

T = TypeVar("T")


class _RowError(ValueError):
    """What is wrong with one row."""


def load_prompts(path: str | Path, split: Split = "train") -> list[Prompt]:
    """Rows of `prompt`, with or without `tags`; one that occurs again is taken once. InvalidInput names bad lines."""

    def read(row: dict[str, Any], source: str) -> Prompt:
        return _prompt(_asked(row), source, split, _tags(row))

    return list({prompt.id: prompt for prompt in _load(path, read)}.values())


def load_demonstrations(path: str | Path) -> list[Demonstration]:
    """Rows of `prompt` and `completion` or `response`, or of `messages`. Raises InvalidInput naming every bad line."""

    def read(row: dict[str, Any], source: str) -> Demonstration:
        key = next((key for key in ("completion", "response", "messages") if key in row), "completion")
        if key == "messages":
            prompt, reply = _split(_conversation(row, key), key)
        else:
            reply = _reply(row, key, prompt := _asked(row))
        if not reply.strip():
            raise _RowError(f"'{key}' has an empty reply")
        return Demonstration(prompt=_prompt(prompt, source, tags=_tags(row)), response=reply, source=source)

    return _load(path, read)


def load_preferences(path: str | Path) -> list[Comparison]:
    """Rows of `chosen` and `rejected`, with a `prompt` or as whole conversations that share it.

    Sample a is the chosen one, b the rejected; one of them may be empty (no reply at all), they may not be equal.
    Raises InvalidInput naming every bad line.
    """

    def read(row: dict[str, Any], source: str) -> Comparison:
        if "prompt" in row:
            prompt = _asked(row)
            chosen, rejected = (_reply(row, key, prompt) for key in ("chosen", "rejected"))
        else:
            prompt, chosen, rejected = _shared_prompt(row)
        if chosen == rejected:
            raise _RowError("'chosen' and 'rejected' are identical")
        record = _prompt(prompt, source)
        a, b = (_sample(record, response) for response in (chosen, rejected))
        return Comparison(id=content_id("comparison", a.id, b.id), a=a, b=b)

    return _load(path, read)


def _load(path: str | Path, read: Callable[[dict[str, Any], str], T]) -> list[T]:
    """All rows or none: the bad lines are reported together, the first 20 in full."""
    records: list[T] = []
    problems: list[str] = []
    bad = 0
    for number, line in _lines(path):
        try:
            record = read(_row(line), Path(path).name)
            if not bad:
                records.append(record)
        except _RowError as error:
            bad += 1
            records.clear()
            if len(problems) < MAX_SHOWN:
                problems.append(f"{path}:{number}: {error}")
    if bad > MAX_SHOWN:
        problems.append(f"{path}: and {bad - MAX_SHOWN} more bad lines")
    if problems:
        raise InvalidInput("\n".join(problems))
    if not records:
        raise InvalidInput(f"{path}: the file has no rows")
    return records


def _lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, numbered from 1, one in memory at a time."""
    try:
        with Path(path).open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    raise InvalidInput(f"{path}:{number}: the line is longer than {MAX_LINE_BYTES} bytes")
                if line.strip():
                    yield number, line
    except FileNotFoundError:
        raise InvalidInput(f"{path}: there is no such file") from None
    except (OSError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(f"{path}: the file cannot be read: {getattr(error, 'strerror', None) or error}") from None


def _row(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8-sig"), object_pairs_hook=_object)
    except _RowError:
        raise
    except UnicodeDecodeError as error:
        raise _RowError(f"byte {error.start + 1} of the line is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _RowError(f"this is not JSON: {error.msg} at column {error.colno}") from None
    except (ValueError, RecursionError):
        raise _RowError("this JSON is nested too deeply or holds a number that is too long") from None
    if not isinstance(row, dict):
        raise _RowError(f"the row is {_kind(row)}; expected one JSON object on each line")
    return row


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if len(set(keys)) < len(keys):
        repeated = next(key for key in keys if keys.count(key) > 1)
        raise _RowError(f"the key {json.dumps(repeated)} is given twice")
    return dict(pairs)


def _conversation(row: dict[str, Any], key: str) -> tuple[Message, ...]:
    """The messages under this key; plain text is one user turn."""
    if key not in row:
        raise _RowError(f"the key '{key}' is missing; the row has: {', '.join(map(json.dumps, row)) or 'none'}"[:300])
    value = row[key]
    if isinstance(value, str):
        dialogue = _dialogue(_text(value, key))
        return dialogue or (Message(role="user", content=value),)
    if not isinstance(value, list):
        raise _RowError(f"'{key}' is {_kind(value)}; expected text or a list of messages")
    return tuple(_message(message, f"{key}[{index}]") for index, message in enumerate(value))


def _asked(row: dict[str, Any]) -> tuple[Message, ...]:
    """The messages of the prompt, without the cue "Assistant:" at the end of the text form."""
    messages = _conversation(row, "prompt")
    return messages[:-1] if messages and messages[-1] == Message(role="assistant", content="") else messages


def _message(value: Any, name: str) -> Message:
    if not isinstance(value, dict) or "role" not in value or "content" not in value:
        raise _RowError(f"'{name}' is not a message with a role and a content")
    if value["role"] not in _ROLES:
        raise _RowError(f"'{name}.role' is {json.dumps(value['role'])[:60]}; allowed: {', '.join(_ROLES)}")
    return Message(role=value["role"], content=_text(value["content"], f"{name}.content"))


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise _RowError(f"'{name}' is {_kind(value)}; expected text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _RowError(f"'{name}' holds a lone surrogate, which is not text") from None
    return value


def _dialogue(text: str) -> tuple[Message, ...]:
    """The hh-rlhf text form as messages, none if it is not that form; turns of one speaker in a row are one message."""
    if not text.startswith(("\n\nHuman:", "\n\nAssistant:")):
        return ()
    messages: list[Message] = []
    parts = _TURN.split(text)[1:]
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        role, content = _SPEAKERS[speaker], content.strip()
        if messages and messages[-1].role == role:
            content = f"{messages.pop().content}\n\n{content}"
        messages.append(Message(role=role, content=content))
    return tuple(messages)


def _tags(row: dict[str, Any]) -> tuple[str, ...]:
    tags = row.get("tags", [])
    if not isinstance(tags, list):
        raise _RowError(f"'tags' is {_kind(tags)}; expected a list of texts")
    return tuple(_text(tag, "tags") for tag in tags)


def _prompt(messages: tuple[Message, ...], source: str, split: Split = "train", tags: tuple[str, ...] = ()) -> Prompt:
    if not messages or messages[-1].role != "user":
        raise _RowError("the prompt does not end with a user's turn")
    if not messages[-1].content.strip():
        raise _RowError("the prompt is empty")
    return Prompt.from_messages(messages, split=split, source=source, tags=tags)


def _split(messages: tuple[Message, ...], name: str) -> tuple[tuple[Message, ...], str]:
    """What comes before the last message, and its text."""
    if not messages or messages[-1].role != "assistant":
        raise _RowError(f"'{name}' does not end with an assistant's turn")
    return messages[:-1], messages[-1].content


def _reply(row: dict[str, Any], key: str, prompt: tuple[Message, ...]) -> str:
    """The reply under this key: text, an assistant's message, or the whole conversation, the prompt included."""
    if isinstance(row.get(key), str) and not _dialogue(row[key]):
        return _text(row[key], key)
    before, reply = _split(_conversation(row, key), key)
    if before and before != prompt:
        raise _RowError(f"'{key}' is a conversation that does not go on from 'prompt' by one reply")
    return reply


def _shared_prompt(row: dict[str, Any]) -> tuple[tuple[Message, ...], str, str]:
    """The prompt that two whole conversations share, and the reply of each."""
    for key in ("chosen", "rejected"):
        if isinstance(row.get(key), str) and not _dialogue(row[key]):
            raise _RowError(f"there is no 'prompt', and '{key}' is not a conversation")
    prompt, chosen = _split(_conversation(row, "chosen"), "chosen")
    other, rejected = _split(_conversation(row, "rejected"), "rejected")
    if prompt != other:
        raise _RowError("'chosen' and 'rejected' differ before the last reply")
    return prompt, chosen, rejected


def _sample(prompt: Prompt, response: str) -> Sample:
    identity = content_id("sample", DATA_POLICY, prompt.id, response)
    return Sample(id=identity, prompt=prompt, response=response, policy_version=DATA_POLICY)


def _kind(value: object) -> str:
    kinds = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
