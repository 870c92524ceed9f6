"""Labelling pairs in a terminal: blind, one key per label, each one stored before the next pair is shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import is_swapped
from services.console.pairs import compared, visible

if TYPE_CHECKING:
    from services.client.preference import PreferenceClient

KEYS = "a left   b right   t tie   x both bad   s skip   u undo   q quit"
CHOICES: dict[str, Choice] = {"a": "a", "b": "b", "t": "tie", "x": "both_bad", "s": "skip"}
MIRRORED: dict[Choice, Choice] = {"a": "b", "b": "a"}
SAID: dict[Choice, str] = {"tie": "tie", "both_bad": "both bad", "skip": "skip"}
MIN_WIDTH_FOR_COLUMNS = 72
DIFFERS = "bold underline"


class Task(NamedTuple):
    """One question: which of the two replies is better for one objective."""

    comparison: Comparison
    objective: str
    left: int
    """Pairs that wait for this person and objective, this one included."""


class Session:
    """One labeler's walk through the pairs, over one or more objectives in turn."""

    def __init__(
        self,
        labels: PreferenceClient,
        labeler: str,
        questions: Mapping[str, str],
        run_id: str = "",
        uniform: bool = False,
    ):
        """`questions` maps each objective to the text that explains it to a person; `uniform` asks that slice alone."""
        self._labels = labels
        self._labeler = labeler
        self._questions = questions
        self._run_id = run_id
        self._uniform = uniform
        self._turns = list(questions)
        self._seen: dict[str, Comparison] = {}
        self.stored = 0

    def run(self, console: Console, keys: Iterator[str]) -> int:
        """Ask until nothing is left, the keys end or `q`; return how many labels stand from this session."""
        task = self._next()
        while task is not None:
            console.print(self._screen(task, console.width))
            key = next((key for key in keys if key in {*CHOICES, "u", "q"} or self._help(console, key)), "q")
            if key == "q":
                return self.stored
            task = (self._undo(console) or task) if key == "u" else self._store(console, task, CHOICES[key])
        console.print("Nothing is left to label.")
        return self.stored

    def _next(self) -> Task | None:
        """The next pair of the objective whose turn it is; an objective with no pairs left drops out."""
        while self._turns:
            objective = self._turns[0]
            waiting = self._labels.waiting(self._labeler, objective, self._run_id, self._uniform)
            if waiting.comparison is not None:
                self._turns.append(self._turns.pop(0))
                self._seen[waiting.comparison.id] = waiting.comparison
                return Task(waiting.comparison, objective, waiting.left)
            self._turns.pop(0)
        return None

    def _store(self, console: Console, task: Task, choice: Choice) -> Task | None:
        swapped = is_swapped(self._labeler, task.comparison.id)
        choice = MIRRORED.get(choice, choice) if swapped else choice
        self._labels.submit_preference(
            task.comparison.id,
            objective=task.objective,
            labeler=self._labeler,
            choice=choice,
            swapped=swapped,
            request_id=uuid.uuid4().hex,
        )
        self.stored += 1
        console.print(f"stored {self.stored}: {self._said(choice, task.comparison.id)}", style="green")
        return self._next()

    def _undo(self, console: Console) -> Task | None:
        """Take back the last label and ask it again, when its pair was shown in this session."""
        undone = self._labels.undo_preference(self._labeler)
        if undone is None:
            console.print("Nothing to undo.")
            return None
        self.stored = max(0, self.stored - 1)
        shown = self._seen.get(undone.comparison_id)
        about = f"'{_beginning(shown)}'" if shown else "a pair of an earlier time"
        said = self._said(undone.choice, undone.comparison_id)
        console.print(f"undone: {said}, {undone.objective}, of {about}", style="yellow")
        if undone.objective in self._questions and undone.objective not in self._turns:
            self._turns.append(undone.objective)
        if shown is None or undone.objective not in self._questions:
            return self._next()
        waiting = self._labels.waiting(self._labeler, undone.objective, self._run_id, self._uniform)
        return Task(shown, undone.objective, waiting.left)

    def _said(self, choice: Choice, comparison_id: str) -> str:
        """A choice in the words of what the person saw."""
        shown = MIRRORED.get(choice, choice) if is_swapped(self._labeler, comparison_id) else choice
        return SAID.get(shown) or ("A, left" if shown == "a" else "B, right")

    @staticmethod
    def _help(console: Console, key: str) -> bool:
        console.print(f"'{visible(key)}' means nothing here. {KEYS}")
        return False

    def _screen(self, task: Task, width: int) -> RenderableType:
        comparison = task.comparison.swap() if is_swapped(self._labeler, task.comparison.id) else task.comparison
        turns = [Text(f"{turn.role}: {visible(turn.content)}", style="bold") for turn in comparison.prompt.messages]
        texts = marked(visible(comparison.a.response), visible(comparison.b.response))
        replies = [Panel(text, title=name, title_align="left") for name, text in zip("AB", texts, strict=True)]
        question = Text(f"Which reply is more {task.objective}? {self._questions[task.objective]}", style="cyan")
        pair = _beside(replies) if width >= MIN_WIDTH_FOR_COLUMNS else Group(*replies)
        left = Text(f"{task.left} {'pair' if task.left == 1 else 'pairs'} left for {task.objective}", style="dim")
        return Group(Rule(), *turns, pair, question, left, Text(KEYS))


def marked(a: str, b: str) -> tuple[Text, Text]:
    """Mark, in both texts, the words that the other one does not have in this place."""
    texts = Text(), Text()
    for text, pieces in zip(texts, compared(a, b), strict=True):
        for piece in pieces:
            text.append(piece.text, style=DIFFERS if piece.differs else "")
    return texts


def _beginning(comparison: Comparison) -> str:
    text = visible(comparison.prompt.messages[-1].content).replace("\n", " ")
    return text if len(text) <= 40 else f"{text[:39]}…"


def _beside(replies: list[Panel]) -> Table:
    grid = Table.grid(expand=True)
    for _ in replies:
        grid.add_column(ratio=1)
    grid.add_row(*replies)
    return grid
