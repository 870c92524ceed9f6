"""Labelling pairs in a terminal: blind, one key per label, each one stored before the next pair is shown."""

from __future__ import annotations

import hashlib
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TextIO

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from rlhf_core.records.feedback import Choice
from rlhf_core.records.samples import Comparison

if TYPE_CHECKING:
    from services.client.preference import PreferenceClient

KEYS = "a left   b right   t tie   x both bad   s skip   u undo   q quit"
CHOICES: dict[str, Choice] = {"a": "a", "b": "b", "t": "tie", "x": "both_bad", "s": "skip"}
MIRRORED: dict[Choice, Choice] = {"a": "b", "b": "a"}
MIN_WIDTH_FOR_COLUMNS = 72


class Task(NamedTuple):
    """One question: which of the two replies is better for one objective."""

    comparison: Comparison
    objective: str


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
        """Asks until nothing is left, the keys end or `q`; returns how many labels stand from this session."""
        task = self._next()
        while task is not None:
            console.print(self._screen(task, console.width))
            key = next((key for key in keys if key in CHOICES or key in "uq" or self._help(console, key)), "q")
            if key == "q":
                return self.stored
            task = (self._undo(console) or task) if key == "u" else self._store(console, task, CHOICES[key])
        console.print("Nothing is left to label.")
        return self.stored

    def _next(self) -> Task | None:
        """The next pair of the objective whose turn it is; an objective with no pairs left drops out."""
        while self._turns:
            objective = self._turns[0]
            comparison = self._labels.next_comparison(self._labeler, objective, self._run_id, self._uniform)
            if comparison is not None:
                self._turns.append(self._turns.pop(0))
                self._seen[comparison.id] = comparison
                return Task(comparison, objective)
            self._turns.pop(0)
        return None

    def _store(self, console: Console, task: Task, choice: Choice) -> Task | None:
        if is_swapped(self._labeler, task.comparison.id):
            choice = MIRRORED.get(choice, choice)
        self._labels.submit_preference(
            task.comparison.id,
            objective=task.objective,
            labeler=self._labeler,
            choice=choice,
            request_id=uuid.uuid4().hex,
        )
        self.stored += 1
        console.print(f"stored ({self.stored})", style="green")
        return self._next()

    def _undo(self, console: Console) -> Task | None:
        """Takes back the last label and asks it again, when its pair was shown in this session."""
        undone = self._labels.undo_preference(self._labeler)
        if undone is None:
            console.print("Nothing to undo.")
            return None
        self.stored = max(0, self.stored - 1)
        console.print(f"undone: {undone.objective}", style="yellow")
        if undone.objective in self._questions and undone.objective not in self._turns:
            self._turns.append(undone.objective)
        shown = self._seen.get(undone.comparison_id)
        return Task(shown, undone.objective) if shown and undone.objective in self._questions else self._next()

    @staticmethod
    def _help(console: Console, key: str) -> bool:
        console.print(f"'{visible(key)}' means nothing here. {KEYS}")
        return False

    def _screen(self, task: Task, width: int) -> RenderableType:
        comparison = task.comparison.swap() if is_swapped(self._labeler, task.comparison.id) else task.comparison
        turns = [Text(f"{turn.role}: {visible(turn.content)}", style="bold") for turn in comparison.prompt.messages]
        replies = [
            Panel(Text(visible(sample.response)), title=name, title_align="left")
            for name, sample in (("A", comparison.a), ("B", comparison.b))
        ]
        question = Text(f"Which reply is more {task.objective}? {self._questions[task.objective]}", style="cyan")
        pair = _beside(replies) if width >= MIN_WIDTH_FOR_COLUMNS else Group(*replies)
        return Group(Rule(), *turns, pair, question, Text(KEYS))


def is_swapped(labeler: str, comparison_id: str) -> bool:
    """Whether this labeler sees the pair's sample b on the left: fixed for the two, even over all pairs."""
    return hashlib.sha256(f"{labeler}\x1f{comparison_id}".encode()).digest()[0] % 2 == 1


def visible(text: str) -> str:
    """The text with control and direction characters spelled out, so that no reply can rewrite the screen."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def read_keys(stream: TextIO = sys.stdin) -> Iterator[str]:
    """Single keys, lower case: at once from a terminal, character by character from a pipe. Ends at end of file."""
    with _unbuffered(stream):
        while key := stream.read(1):
            if not key.isspace():
                yield key.lower()


@contextmanager
def _unbuffered(stream: TextIO) -> Iterator[None]:
    """A terminal that hands over each key without waiting for the line, restored afterwards."""
    if not stream.isatty():
        yield
        return
    import termios
    import tty

    saved = termios.tcgetattr(stream)
    tty.setcbreak(stream)
    try:
        yield
    finally:
        termios.tcsetattr(stream, termios.TCSADRAIN, saved)


def _beside(replies: list[Panel]) -> Table:
    grid = Table.grid(expand=True)
    for _ in replies:
        grid.add_column(ratio=1)
    grid.add_row(*replies)
    return grid
