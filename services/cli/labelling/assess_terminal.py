"""Rating and ranking replies in a terminal: blind, by single keys, each answer stored before the next is asked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from rlhf_core.records.assessments import HIGHEST, LOWEST
from services.console.pairs import visible

if TYPE_CHECKING:
    from services.client.assessment import AssessmentClient, Item

LEASE_SECONDS = 600
KEYS = {
    "rating": f"{LOWEST} worst to {HIGHEST} best   s skip   u undo   q quit",
    "ranking": "numbers, best first   = before one as good as the last   x all bad   s skip   u undo   q quit",
}


TerminalForm = Literal["rating", "ranking"]
SCALE = frozenset(str(number) for number in range(LOWEST, HIGHEST + 1))


class Question(NamedTuple):
    """What is asked now: one reply, or several to put in order."""

    item: Item
    objective: str
    left: int


class Answer(NamedTuple):
    """What was said; nothing of all is a skip."""

    rating: int | None = None
    ranks: tuple[int, ...] = ()
    all_bad: bool = False


SKIP = Answer()
UNDO = Answer(rating=0)
"""No answer, but a step back."""


class Order:
    """Replies as they are put in order, best first; equals stand together."""

    def __init__(self, replies: int):
        self._replies = replies
        self._groups: list[list[int]] = []
        self._ties = False

    @property
    def begun(self) -> bool:
        return bool(self._groups)

    def take(self, key: str) -> bool:
        """Place the reply of this number, or let the next one tie; False where the key means nothing now."""
        placed = [place for group in self._groups for place in group]
        if key == "=" and self._groups:
            self._ties = True
            return True
        place = int(key) - 1 if key.isascii() and key.isdigit() else -1
        if not 0 <= place < self._replies or place in placed:
            return False
        if self._ties:
            self._groups[-1].append(place)
        else:
            self._groups.append([place])
        self._ties = False
        return True

    def ranks(self) -> tuple[int, ...]:
        """Return the ranks in the order of the replies; empty until each is placed."""
        found = {place: rank for rank, group in enumerate(self._groups, 1) for place in group}
        return tuple(found[place] for place in range(self._replies)) if len(found) == self._replies else ()

    def __str__(self) -> str:
        groups = (" = ".join(str(place + 1) for place in group) for group in self._groups)
        return " > ".join(groups) + (" =" if self._ties else "")


class AssessmentSession:
    """One labeler's walk through replies, over one or more objectives in turn."""

    def __init__(
        self,
        assessments: AssessmentClient,
        labeler: str,
        questions: Mapping[str, str],
        form: TerminalForm,
        run_id: str = "",
    ):
        """`questions` maps each objective to the text that explains it to a person."""
        self._assessments = assessments
        self._labeler = labeler
        self._questions = questions
        self._form: TerminalForm = form
        self._run_id = run_id
        self._turns = list(questions)
        self.stored = 0

    def run(self, console: Console, keys: Iterator[str]) -> int:
        """Ask until nothing is left, the keys end or `q`; return how many answers stand from this session."""
        while (asked := self._next()) is not None:
            console.print(self._screen(asked))
            answer = self._answer(console, keys, len(asked.item.samples))
            if answer is None:
                return self.stored
            if answer == UNDO:
                self._undo(console)
            else:
                self._store(console, asked, answer)
        console.print("Nothing is left to label.")
        return self.stored

    def _next(self) -> Question | None:
        """The next item of the objective whose turn it is; an objective with none left drops out."""
        while self._turns:
            objective = self._turns.pop(0)
            asked = self._labeler, objective, self._form, self._run_id
            found = self._assessments.upcoming(*asked, lease_seconds=LEASE_SECONDS)
            if found.items:
                self._turns.append(objective)
                return Question(found.items[0], objective, found.left)
        return None

    def _answer(self, console: Console, keys: Iterator[str], replies: int) -> Answer | None:
        """What the keys say of the item on the screen; None to stop."""
        order = Order(replies)
        for key in keys:
            if key == "q":
                return None
            if key == "u" and order.begun:
                order = Order(replies)
                console.print("The order begins anew.")
            elif key in ("u", "s"):
                return UNDO if key == "u" else SKIP
            elif self._form == "rating" and key in SCALE:
                return Answer(rating=int(key))
            elif self._form == "ranking" and key == "x":
                return Answer(all_bad=True)
            elif self._form == "ranking" and order.take(key):
                if ranks := order.ranks():
                    return Answer(ranks=ranks)
                console.print(str(order))
            else:
                console.print(f"'{visible(key)}' means nothing here. {KEYS[self._form]}")
        return None

    def _store(self, console: Console, asked: Question, answer: Answer) -> None:
        self._assessments.submit(
            self._form,
            [sample.id for sample in asked.item.samples],
            objective=asked.objective,
            labeler=self._labeler,
            run_id=self._run_id,
            request_id=uuid.uuid4().hex,
            **answer._asdict(),
        )
        self.stored += 1
        ranks = ", ".join(map(str, answer.ranks))
        said = f"rated {answer.rating}" if answer.rating else f"ranks {ranks}" if ranks else "skip"
        console.print(f"stored {self.stored}: {'all bad' if answer.all_bad else said}", style="green")

    def _undo(self, console: Console) -> None:
        """Take back the last answer; its item waits again."""
        undone = self._assessments.undo(self._labeler, self._form)
        if undone is None:
            console.print("Nothing to undo.")
            return
        self.stored = max(0, self.stored - 1)
        console.print(f"undone: an answer for {undone.objective}", style="yellow")
        if undone.objective in self._questions:
            self._turns = [undone.objective, *(turn for turn in self._turns if turn != undone.objective)]

    def _screen(self, asked: Question) -> RenderableType:
        samples = asked.item.samples
        turns = [Text(f"{turn.role}: {visible(turn.content)}", style="bold") for turn in samples[0].prompt.messages]
        titles = [None] if self._form == "rating" else [str(number + 1) for number in range(len(samples))]
        replies = [
            Panel(Text(visible(sample.response)), title=title, title_align="left")
            for title, sample in zip(titles, samples, strict=True)
        ]
        asks = {"rating": "How {} is this reply?", "ranking": "In which order are the replies {}, the most first?"}
        words = self._questions[asked.objective]
        question = Text(f"{asks[self._form].format(asked.objective)} {words}", style="cyan")
        left = Text(f"{asked.left} left for {asked.objective}", style="dim")
        return Group(Rule(), *turns, *replies, question, left, Text(KEYS[self._form]))
