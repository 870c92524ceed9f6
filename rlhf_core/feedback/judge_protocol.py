"""Tell how a run's judge is asked, and which line of models it comes from."""

from __future__ import annotations

import hashlib

from rlhf_core.constitution.constitution import CompareDefaults
from rlhf_core.feedback.templates import COMPARE_FORMAT, COMPARE_HASH, NOTES_HASH
from rlhf_core.records.feedback import Protocol

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


def is_pointwise(configured: Protocol, wishes: CompareDefaults) -> bool:
    """Tell whether a run's judge reads replies alone where it can: the constitution's wish goes first."""
    return configured == "pointwise" if wishes.pointwise is None else wishes.pointwise


def is_contrast(configured: Protocol, wishes: CompareDefaults) -> bool:
    """Tell whether a run's judge reads replies by contrast where it can: a constitution may wish for critiques."""
    return configured == "contrast" and not wishes.pointwise


_OF_PAIRS: dict[Protocol, Protocol] = {"pointwise": "notes", "contrast": "logprobs"}
"""How pairs are asked about that such a judge cannot read reply by reply."""


def protocol_of(configured: Protocol, wishes: CompareDefaults, gives_logprobs: bool) -> Protocol:
    """Tell how a run's judge is asked about pairs.

    The constitution's wish for reasoning goes before the configuration's; what the judge can do, before both.

    Only `text` works without log-probabilities, and a judge that is asked for text may reason in it. A pointwise judge
    is asked by `notes` about what it cannot read alone, one that contrasts by `logprobs` where there are no examples.
    """
    wished = wishes.cot
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
