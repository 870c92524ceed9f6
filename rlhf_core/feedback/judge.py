"""Ask a judge which of two replies is better, and read its answer: one protocol per function."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.constitution.constitution import Constitution
from rlhf_core.feedback.prompts import COMPARE_FORMAT, COMPARE_HASH, LABELS, NOTES_HASH
from rlhf_core.interfaces import Chat, Choose, Conversation
from rlhf_core.records.feedback import Protocol
from rlhf_core.records.samples import Message

REASON_FORMAT = "Think step by step about both replies, in a few sentences. Do not say yet which is better."
TEXT_FORMAT = 'Think it through in a few sentences. End with one line: "Better: A", "Better: B" or "Better: tie".'
FORMATS: dict[Protocol, str] = {
    "notes": COMPARE_FORMAT,
    "logprobs": COMPARE_FORMAT,
    "cot": REASON_FORMAT,
    "text": TEXT_FORMAT,
}
"""What stands after the question. A judge that reads replies alone, or by contrast, is asked none."""
TEMPLATE_HASHES: dict[Protocol, str] = {
    "notes": NOTES_HASH,
    "logprobs": COMPARE_HASH,
    "cot": hashlib.sha256(f"{COMPARE_HASH}\x1f{REASON_FORMAT}".encode()).hexdigest()[:16],
    "text": hashlib.sha256(f"{COMPARE_HASH}\x1f{TEXT_FORMAT}".encode()).hexdigest()[:16],
}
"""Part of every vote's key, so that votes of different protocols never mix."""
SAID = 0.8
"""Probability that one answer in words is worth by itself."""

_TAG = re.compile(r"\W*better\W*:\W*(A|B|tie)\W*", re.IGNORECASE)
_REFUSAL = re.compile(
    r"\W*(i['’]?m (very |really |so )?(sorry|unable)|(i am|as an ai)\b|sorry\b|i (can['’]?t|cannot|won['’]?t))", re.I
)


class Answer(NamedTuple):
    """What a judge said of one pair as shown; `reason` says why nothing could be read."""

    first: float
    """Log-probability, in nats, of the reply that was shown first."""
    second: float
    mass: float
    """Probability of the two labels together; 0 when nothing could be read."""
    text: str = ""
    reason: str = ""

    def turned(self) -> Answer:
        """Return the answer as if the replies had been shown in the other order."""
        return self._replace(first=self.second, second=self.first)


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


def weigh(logprobs: Sequence[float], text: str = "") -> Answer:
    """Make an answer of the labels' log-probabilities."""
    first, second = logprobs
    mass = min(1.0, math.exp(first) + math.exp(second))
    return Answer(first, second, mass, text) if mass > 0 else _unread(text, "no_label")


def read_choice(text: str) -> Answer:
    """Read the choice from the last line, which must say nothing else; otherwise no choice is read."""
    lines = text.strip().splitlines()
    tag = _TAG.fullmatch(lines[-1].strip()) if lines else None
    if tag is None:
        return _unread(text, "refusal" if _REFUSAL.match(text) else "no_choice")
    p = {"A": SAID, "B": 1 - SAID}.get(tag.group(1).upper(), 0.5)
    return Answer(math.log(p), math.log(1 - p), 1.0, text)


def _unread(text: str, reason: str) -> Answer:
    return Answer(math.log(0.5), math.log(0.5), 0.0, text, reason)


def is_pointwise(configured: Protocol, constitution: Constitution) -> bool:
    """Tell whether a run's judge reads replies alone where it can: the constitution's wish goes first."""
    wished = constitution.defaults.compare.pointwise
    return configured == "pointwise" if wished is None else wished


def is_contrast(configured: Protocol, constitution: Constitution) -> bool:
    """Tell whether a run's judge reads replies by contrast where it can: a constitution may wish for critiques."""
    return configured == "contrast" and not constitution.defaults.compare.pointwise


_OF_PAIRS: dict[Protocol, Protocol] = {"pointwise": "notes", "contrast": "logprobs"}
"""How pairs are asked about that such a judge cannot read reply by reply."""


def protocol_of(configured: Protocol, constitution: Constitution, gives_logprobs: bool) -> Protocol:
    """Tell how a run's judge is asked about pairs.

    The constitution's wish for reasoning goes before the configuration's; what the judge can do, before both.

    Only `text` works without log-probabilities, and a judge that is asked for text may reason in it. A pointwise judge
    is asked by `notes` about what it cannot read alone, one that contrasts by `logprobs` where there are no examples.
    """
    wished = constitution.defaults.compare.cot
    chosen = _OF_PAIRS.get(configured, configured)
    if wished and configured != "text":
        chosen = "cot"
    elif wished is False and configured == "cot":
        chosen = "logprobs"
    return chosen if gives_logprobs else "text"


FAMILIES = (
    *("llama", "vicuna", "qwen", "qwq", "mixtral", "mistral", "gemma", "gemini", "claude", "gpt", "deepseek", "olmo"),
    *("smollm", "phi", "falcon", "granite", "command", "glm", "grok", "kimi", "nemotron", "sandbox"),
)


def family(name: str) -> str:
    """Return the line of models that a name tells of; a name of no known line is a line of its own."""
    stem = name.split("@")[0].removeprefix("openai:").rpartition("/")[2].lower()
    return next((known for known in FAMILIES if known in stem), stem)
