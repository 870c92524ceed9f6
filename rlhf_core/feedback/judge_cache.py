"""What a judge writes down as it works: its own answers to prompts, notes on two replies, and grades of single ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rlhf_core.feedback.templates import notes_conversation
from rlhf_core.interfaces import Chat, Conversation
from rlhf_core.records.samples import Message, Prompt

MOST = 20_000
"""Pairs, or graded replies, after which a notebook begins anew."""
Shown = tuple[Prompt, str, str]
"""A prompt, and the replies that are shown as A and B."""


class Grade(NamedTuple):
    """How much a reply's faults weigh under one principle; None where what the judge wrote could not be read."""

    points: int | None
    text: str
    reason: str


class Notebook:
    """Keeps what a judge has written, so that later questions, principles and constitutions find it."""

    def __init__(self) -> None:
        self._answers: dict[str, str] = {}
        self._notes: dict[tuple[str, str, str], str] = {}
        self.grades: dict[tuple[str, str, str], Grade] = {}
        """By the principle's hash, the prompt's id and the reply."""
        self.ratios: dict[tuple[str, str, str, str], float] = {}
        """Log-ratios of contrasts, by the model that read the reply and the same."""

    def clear(self) -> None:
        self._answers.clear()
        self._notes.clear()
        self.grades.clear()
        self.ratios.clear()

    def conversations(self, chat: Chat, shown: Sequence[Shown]) -> list[Conversation]:
        """Return, for each pair, the conversation that ends with the judge's notes.

        Notes that are not there yet are written by `chat`.

        An answer of its own tells a judge what belongs in a reply: reference-guided grading (Zheng et al. 2023).
        """
        if len(self._notes) > MOST:
            self.clear()
        unanswered = {prompt.id: prompt for prompt, _, _ in shown if prompt.id not in self._answers}
        written = chat([prompt.messages for prompt in unanswered.values()])
        self._answers.update(zip(unanswered, written, strict=True))
        asked = [((p.id, a, b), notes_conversation(p, self._answers[p.id], a, b)) for p, a, b in shown]
        unread = {key: conversation for key, conversation in asked if key not in self._notes}
        written = chat(list(unread.values()))
        self._notes.update(zip(unread, written, strict=True))
        return [(*asking, Message(role="assistant", content=self._notes[key])) for key, asking in asked]
