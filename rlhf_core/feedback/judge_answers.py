"""Read what a judge answers about two replies: from the log-probabilities of the labels, or from its words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

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
