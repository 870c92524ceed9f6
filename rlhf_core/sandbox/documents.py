"""Documents as tokens, with what the model is to say after each."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from transformers import PreTrainedTokenizerFast

from rlhf_core.feedback.templates import LABELS
from rlhf_core.sandbox.corpus import Document
from rlhf_core.sandbox.tokenizer import END, ROLES

CACHED = 20_000
"""Texts whose tokens are kept: most of those that come again; all of a training's would fill gigabytes."""

LETTER_WEIGHT = 8.0
"""Loss weight of a judge's letter against 1 for any other token: it is the whole of what a comparison teaches."""

DECISION_WEIGHT = 3.0
"""Loss weight of the word that tells a hazard asked about from another: what a critique turns on."""

WORTH_WEIGHT = 2.0
"""Loss weight of what a line is worth, or that it is wrong: one token of a dozen, and all that tells a mistake."""

VERDICT_WEIGHT = 6.0
"""Loss weight of who does better by a judge's notes: the lines' sum, in one word.

Asides weigh as much as the same word in notes. Without them a letter follows the sum of all verdicts, and notes on a
line follow what such lines mostly give: that the one asked about decides, and whether this line belongs here, is found
late or never.
"""


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
        self._encode = lru_cache(CACHED)(lambda text: tokenizer.encode(text, add_special_tokens=False))
        self._end = self._encode(END)
        self._roles = {role: self._encode(token) for role, token in ROLES.items()}
        self._verdicts = {word: self._encode(f" {word}")[0] for word in (*LABELS, "even")}
        self._weights = {self._encode(word)[0]: DECISION_WEIGHT for word in (" yes", " no")}
        self._weights |= {self._encode(f" {worth}")[0]: WORTH_WEIGHT for worth in (0, 2, 3, 4, 6, 9, "wrong")}
        self._weights |= dict.fromkeys(self._verdicts.values(), VERDICT_WEIGHT)
        self._letters = [self._encode(label)[0] for label in LABELS]

    def __call__(self, document: Document) -> Example:
        parts = [([], self._encode(piece)) for piece in document.pieces]
        parts += [(self._roles[turn.role], self._encode(turn.content) + self._end) for turn in document.turns]
        tokens: list[int] = []
        targets: list[Target] = []
        asides: list[Target] = []
        for place, (head, content) in enumerate(parts):
            if place == len(document.pieces) - 1:
                content = content + self._end
            tokens += head
            if place in document.learned:
                start = len(tokens) - 1
                weighed = [(i, token, self._weights.get(token, 1.0)) for i, token in enumerate(content)]
                targets += [Target(start + i, token, weight) for i, token, weight in weighed if start + i >= 0]
            elif place in document.given:
                verdicts = [(i, token) for i, token in enumerate(content) if token in self._verdicts.values()]
                targets += [Target(len(tokens) - 1 + i, token, VERDICT_WEIGHT) for i, token in verdicts]
            for aside in document.asides:
                if aside.turn == place:
                    position = len(tokens) + len(self._encode(aside.read)) - 1
                    [word] = self._encode(f" {aside.word}")
                    asides.append(Target(position, word, self._weights[word]))
            tokens += content
        letters = 2 * len(document.p_a)
        if letters:
            targets[-letters:] = self._letter_targets(targets[-letters:], document.p_a)
        return Example(tokens, targets + asides)

    def _letter_targets(self, targets: list[Target], p_a: tuple[float, ...]) -> Iterator[Target]:
        """Each turn's letter is A as often as it should be, and the turn ends there."""
        for (letter, end), chance in zip(zip(targets[::2], targets[1::2], strict=True), p_a, strict=True):
            for token, share in zip(self._letters, (chance, 1 - chance), strict=True):
                yield Target(letter.position, token, LETTER_WEIGHT * share)
            yield end
