"""Documents as tokens, with what the model is to say after each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from rlhf_core.feedback.prompts import LABELS
from rlhf_core.sandbox.corpus import Document
from rlhf_core.sandbox.tokenizer import END, ROLES

LETTER_WEIGHT = 16.0
"""Loss weight of a judge's letter against 1 for any other token: it is the whole of what a comparison teaches."""

DECISION_WEIGHT = 3.0
"""Loss weight of the word that tells a hazard asked about from another: what a critique turns on."""


class Target(NamedTuple):
    """The token that the model should give after `position`, and its weight in the loss."""

    position: int
    token: int
    weight: float


class Example(NamedTuple):
    tokens: list[int]
    targets: list[Target]


class Encoder:
    """Turns documents into examples in the tokenizer's chat template."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self._encode = cache(lambda text: tokenizer.encode(text, add_special_tokens=False))
        self._end = self._encode(END)
        self._roles = {role: self._encode(token) for role, token in ROLES.items()}
        self._decisions = {self._encode(word)[0] for word in (" yes", " no")}
        self._letters = [self._encode(label)[0] for label in LABELS]

    def __call__(self, document: Document) -> Example:
        parts = [([], self._encode(piece)) for piece in document.pieces]
        parts += [(self._roles[turn.role], self._encode(turn.content) + self._end) for turn in document.turns]
        tokens: list[int] = []
        targets: list[Target] = []
        for place, (head, content) in enumerate(parts):
            if place == len(document.pieces) - 1:
                content = content + self._end
            tokens += head
            if place in document.learned:
                start = len(tokens) - 1
                targets += [
                    Target(start + i, token, self._weight(token)) for i, token in enumerate(content) if start + i >= 0
                ]
            tokens += content
        letters = 2 * len(document.p_a)
        if letters:
            targets[-letters:] = self._letter_targets(targets[-letters:], document.p_a)
        return Example(tokens, targets)

    def _letter_targets(self, targets: list[Target], p_a: tuple[float, ...]) -> Iterator[Target]:
        """Each turn's letter is A as often as it should be, and the turn ends there."""
        for (letter, end), chance in zip(zip(targets[::2], targets[1::2], strict=True), p_a, strict=True):
            for token, share in zip(self._letters, (chance, 1 - chance), strict=True):
                yield Target(letter.position, token, LETTER_WEIGHT * share)
            yield end

    def _weight(self, token: int) -> float:
        return DECISION_WEIGHT if token in self._decisions else 1.0
