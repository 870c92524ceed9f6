"""The sandbox's world: household chores of two steps, what each step risks, and the safer way to do it.

A task is two chores that somebody wants done: a hundred chores make as many tasks as a run can use.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from ruamel.yaml import YAML

from rlhf_core.records.base import Record
from rlhf_core.records.samples import Prompt, Split

KINDS: tuple[str, ...] = ("fumes", "burns", "shock", "cuts", "falls")
EXPERT = "call an expert"
"""The line that helps nobody and harms nobody."""
QUESTIONS = (
    "How do I {}?",
    "Please tell me how to {}.",
    "What are the steps to {}?",
    "I want to {}. What should I do?",
)

JOIN = " and "
"""Between the names of two chores."""
ROUNDS: dict[Split, int] = {"heldout": 6, "train": 30}
"""How often every chore is met in the tasks of each split."""

Hazardousness = Literal["benign", "mixed", "hazard"]


class Step(Record):
    """What a line of an answer says to do; severity is 0 to 3, and 0 has no kind."""

    text: str
    kind: str = ""
    severity: int = 0
    safer: str | None = None
    """The text of the step that does the same job with less risk."""


class Task(Record):
    """A chore of two steps in order, or two chores one after the other; each step with its importance of 1 to 3."""

    name: str
    steps: tuple[Step, ...] = Field(min_length=2, max_length=4)
    importance: tuple[int, ...] = Field(min_length=2, max_length=4)

    @property
    def hazardousness(self) -> Hazardousness:
        hazards = sum(step.severity > 0 for step in self.steps)
        return "benign" if hazards == 0 else "hazard" if hazards == len(self.steps) else "mixed"

    def questions(self) -> tuple[str, ...]:
        return tuple(question.format(self.name) for question in QUESTIONS)

    def then(self, other: Task) -> Task | None:
        """Join this chore and then the other; None where a line could be a step of either."""
        if self.lines & other.lines:
            return None
        return Task(
            name=f"{self.name}{JOIN}{other.name}",
            steps=(*self.steps, *other.steps),
            importance=(*self.importance, *other.importance),
        )

    @property
    def lines(self) -> set[str]:
        """The steps and their safer substitutes."""
        return {text for step in self.steps for text in (step.text, step.safer) if text}


class World(Record):
    """All steps by text, safer ones included; all chores by name; and the tasks of two chores that a run asks for.

    Every chore is met in training. What is held out is which of them come together.
    """

    steps: dict[str, Step]
    chores: dict[str, Task]
    tasks: dict[Split, tuple[Task, ...]]

    def task(self, name: str) -> Task | None:
        """Find the chore of that name, or the two chores that it names; None where there is no such task."""
        if name in self.chores:
            return self.chores[name]
        first, _, second = name.partition(JOIN)
        if first in self.chores and second in self.chores:
            return self.chores[first].then(self.chores[second])
        return None


@cache
def load_world() -> World:
    """Load the world of `chores.yaml`."""
    data = YAML(typ="safe").load(Path(__file__).with_name("chores.yaml"))
    steps = {text: Step(text=text) for text in (*data["benign"], EXPERT)}
    importance: dict[str, int] = dict(data["benign"])
    for text, (weight, kind, severity, *safer) in data["hazardous"].items():
        importance[text] = weight
        steps[text] = Step(text=text, kind=kind, severity=severity, safer=safer[0] if safer else None)
        if safer:
            steps[safer[0]] = Step(text=safer[0], kind=kind if safer[1] else "", severity=safer[1])
    chores = {}
    for name, line in data["chores"].items():
        texts, weights = [], []
        for part in line.split(" / "):
            text, _, override = part.partition("=")
            texts.append(text)
            weights.append(int(override or importance[text]))
        chores[name] = Task(name=name, steps=tuple(steps[text] for text in texts), importance=tuple(weights))
    return World(steps=steps, chores=chores, tasks=_paired(list(chores.values())))


def _paired(chores: Sequence[Task]) -> dict[Split, tuple[Task, ...]]:
    """Rounds in which every chore meets another, always the same; no two meet twice, whichever comes first."""
    rng = random.Random(0)
    met: set[frozenset[str]] = set()
    tasks: dict[Split, tuple[Task, ...]] = {}
    for split, rounds in ROUNDS.items():
        found: list[Task] = []
        for turn in range(rounds):
            order = rng.sample(chores, len(chores))
            if turn % 3 == 0:  # chores without a hazard among themselves: by chance alone few tasks would be benign
                order.sort(key=lambda chore: chore.hazardousness == "benign")
            for first, second in zip(order[::2], order[1::2], strict=False):
                both, names = first.then(second), frozenset((first.name, second.name))
                if both and names not in met:
                    met.add(names)
                    found.append(both)
        tasks[split] = tuple(found)
    return tasks


@cache
def prompts(split: Split) -> tuple[Prompt, ...]:
    """Make every task of the split a prompt in one of the wordings, in turn, tagged with task and hazardousness."""
    return tuple(
        Prompt.of(task.questions()[place % len(QUESTIONS)], split, "sandbox", (task.name, task.hazardousness))
        for place, task in enumerate(load_world().tasks[split])
    )


def reply(lines: Sequence[str]) -> str:
    """Write the lines as a numbered list."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
