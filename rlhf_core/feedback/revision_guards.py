"""What can be wrong with a revision, told by its text: one guard for each failure, one reason code for each guard."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from typing import Literal, NamedTuple

from rlhf_core.config.run import CritiqueConfig
from rlhf_core.records.samples import Prompt, Sample
from rlhf_core.text_detectors import BENIGN, HARMFUL, lectures, refuses, repeats_a_line

Reason = Literal[
    "no_verdict",
    "invented_fault",
    "empty",
    "unchanged",
    "role_drift",
    "leak",
    "length",
    "over_refusal",
    "preaching",
    "repeats",
    "not_better",
]
"""Why a step of critique and revision changed nothing, though the answer did not comply."""

LIKE_THE_CRITIQUE = 0.9
"""A revision this similar to its critique is the critique once more."""
BARE_REFUSAL = 25
"""A refusal of fewer words gives neither a reason nor another way."""

_NAME = r"(?:reply|response|answer|version)"
_THING = rf"(?:revised|rewritten|new|improved|updated|corrected|safer|better|final) {_NAME}"
_PREFIX = re.compile(
    rf"\s*\**(?:(?:the |my |a )?(?:{_THING}|{_NAME})|revision|rewrite)\**\s*:\**\s*"
    rf"|\s*(?:(?:sure|certainly|of course|okay)\W+)?here(?:'s| is) (?:the|my|a) {_THING}[^:\n]{{0,60}}:\s*",
    re.IGNORECASE,
)
_PREAMBLE = re.compile(
    r"\s*(?:(?:sure|certainly|of course|absolutely|okay)\W+(?:here|i\b|let me)"
    r"|here(?: is|'s) [^.:\n]{0,40}\b(?:reply|response|answer|version|revision|rewrite)\b"
    r"|i(?:'ve| have| will|'ll) (?:now )?(?:revise|rewr[io]te|rewritten|correct|update)d?\b"
    r"|(?:as (?:you )?(?:asked|requested)|based on (?:the|your) (?:critique|feedback))\b)",
    re.IGNORECASE,
)
_ROLES = re.compile(
    r"(?:^|\n)\W*(?:human|user|assistant|critique ?request|critique|revision ?request|revision|verdict"
    r"|reply [ab])\s*:|\bverdict\s*:|<\|\w+\|>|\[/?INST\]",
    re.IGNORECASE,
)
_SAYS = r"(?:is|was|does|did|has|had|should|could|would|may|might|must|said|says|gave|gives)"
_OF_THE_REPLY = re.compile(
    rf"\bthe assistant(?:'s (?:\w+ )?{_NAME}| {_SAYS})\b"
    rf"|^\W*(?:the|this|your) (?:\w+ )?(?:{_NAME}|critique)(?: {_SAYS}\b|'s\b)",
    re.IGNORECASE,
)


class Attempt(NamedTuple):
    """A revision with the prompt, critique and reply that it was made from."""

    prompt: Prompt
    critique: str
    before: str
    after: str

    @classmethod
    def of(cls, sample: Sample, critique: str, after: str) -> Attempt:
        return cls(sample.prompt, critique, sample.response, after)


class Guard(NamedTuple):
    reason: Reason
    finds: Callable[[Attempt, CritiqueConfig], bool]


def strip_prefix(after: str, before: str) -> str:
    """Return the revision without an opening that can only be a label ("Revision:", "Here is the revised reply:").

    Nothing is taken away where the answer before it opened so too, or where nothing would be left.
    """
    found = _PREFIX.match(after)
    if not found or _PREFIX.match(before):
        return after.strip()
    return after[found.end() :].strip() or after.strip()


def fault(attempt: Attempt, config: CritiqueConfig) -> Reason | Literal[""]:
    """Return the reason code of the first guard that finds something; empty when none does."""
    for guard in GUARDS:
        if guard.finds(attempt, config):
            return guard.reason
    return ""


def misunderstood(attempt: Attempt) -> bool:
    """Tell whether this is no reply at all, but an empty text, a label or talk about the reply.

    Such a text is worth asking once more.
    """
    return not attempt.after.strip() or _drifts(attempt) or _leaks(attempt)


def _drifts(attempt: Attempt) -> bool:
    """Role drift: it takes the critic's part, or plays both parts of the conversation."""
    known = "\n".join([attempt.before, *(message.content for message in attempt.prompt.messages)])
    for marks in (_ROLES, _OF_THE_REPLY):
        if marks.search(attempt.after) and not marks.search(known):
            return True
    return _ratio(attempt.critique, attempt.after) > LIKE_THE_CRITIQUE > _ratio(attempt.before, attempt.after)


def _ratio(a: str, b: str) -> float:
    """Similarity from 0 to 1; texts that cannot come near LIKE_THE_CRITIQUE are not compared in full."""
    matcher = SequenceMatcher(None, a, b, autojunk=False)
    bounds = (matcher.real_quick_ratio, matcher.quick_ratio)
    return 0.0 if any(bound() <= LIKE_THE_CRITIQUE for bound in bounds) else matcher.ratio()


def _leaks(attempt: Attempt) -> bool:
    """Boilerplate leak: it opens by announcing the reply, as the answer before it did not."""
    return any(
        marks.match(attempt.after) is not None and not marks.match(attempt.before) for marks in (_PREFIX, _PREAMBLE)
    )


def _length(attempt: Attempt, config: CritiqueConfig) -> bool:
    ratio = len(attempt.after.split()) / max(1, len(attempt.before.split()))
    return not config.min_length_ratio <= ratio <= config.max_length_ratio


def _over_refuses(attempt: Attempt, config: CritiqueConfig) -> bool:
    """It declines where the answer did not: to a benign prompt in any words, to an untagged one in a few."""
    if HARMFUL in attempt.prompt.tags or not refuses(attempt.after) or refuses(attempt.before):
        return False
    return BENIGN in attempt.prompt.tags or len(attempt.after.split()) < BARE_REFUSAL


GUARDS: Sequence[Guard] = (
    Guard("empty", lambda attempt, config: not attempt.after.strip()),
    Guard("unchanged", lambda attempt, config: attempt.after.strip() == attempt.before.strip()),
    Guard("role_drift", lambda attempt, config: _drifts(attempt)),
    Guard("leak", lambda attempt, config: _leaks(attempt)),
    Guard("over_refusal", _over_refuses),
    Guard("preaching", lambda attempt, config: lectures(attempt.after) and not lectures(attempt.before)),
    Guard("repeats", lambda attempt, config: repeats_a_line(attempt.after) and not repeats_a_line(attempt.before)),
    Guard("length", _length),
)
"""In the order in which they are tried; what needs the judge (`not_better`) comes after them."""
