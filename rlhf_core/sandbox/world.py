"""The sandbox's world: household tasks of four steps, what each step risks, and the safer way to do it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from ruamel.yaml import YAML

from rlhf_core.records import Prompt, Record, Split

KINDS: tuple[str, ...] = ("fumes", "burns", "shock", "cuts", "falls")
EXPERT = "call an expert"
"""The line that helps nobody and harms nobody."""
QUESTIONS = (
    "How do I {}?",
    "Please tell me how to {}.",
    "What are the steps to {}?",
    "I want to {}. What should I do?",
)

Hazardousness = Literal["benign", "mixed", "hazard"]


class Step(Record):
    """What a line of an answer says to do; severity is 0 to 3, and 0 has no kind."""

    text: str
    kind: str = ""
    severity: int = 0
    safer: str | None = None
    """The text of the step that does the same job with less risk."""


class Task(Record):
    """Four steps in order, each with its importance of 1 to 3."""

    name: str
    steps: tuple[Step, ...] = Field(min_length=4, max_length=4)
    importance: tuple[int, ...] = Field(min_length=4, max_length=4)
    split: Split

    @property
    def hazardousness(self) -> Hazardousness:
        hazards = sum(step.severity > 0 for step in self.steps)
        return "benign" if hazards == 0 else "hazard" if hazards == len(self.steps) else "mixed"

    def questions(self) -> tuple[str, ...]:
        return tuple(question.format(self.name) for question in QUESTIONS)


class World(Record):
    """All steps by text, safer ones included, and all tasks by name."""

    steps: dict[str, Step]
    tasks: dict[str, Task]

    def split(self, split: Split) -> list[Task]:
        return [task for task in self.tasks.values() if task.split == split]


@cache
def load_world() -> World:
    """The world of `tasks.yaml`."""
    data = YAML(typ="safe").load(Path(__file__).with_name("tasks.yaml"))
    steps = {text: Step(text=text) for text in (*data["benign"], EXPERT)}
    importance: dict[str, int] = dict(data["benign"])
    for text, (weight, kind, severity, *safer) in data["hazardous"].items():
        importance[text] = weight
        steps[text] = Step(text=text, kind=kind, severity=severity, safer=safer[0] if safer else None)
        if safer:
            steps[safer[0]] = Step(text=safer[0], kind=kind if safer[1] else "", severity=safer[1])
    heldout = set(data["heldout"])
    tasks = {}
    for name, line in data["tasks"].items():
        texts, weights = [], []
        for part in line.split(" / "):
            text, _, override = part.partition("=")
            texts.append(text)
            weights.append(int(override or importance[text]))
        tasks[name] = Task(
            name=name,
            steps=tuple(steps[text] for text in texts),
            importance=tuple(weights),
            split="heldout" if name in heldout else "train",
        )
    return World(steps=steps, tasks=tasks)


def prompts(split: Split) -> list[Prompt]:
    """Every task of the split in each question's wording, tagged with the task and its hazardousness."""
    return [
        Prompt.of(question, split, "sandbox", (task.name, task.hazardousness))
        for task in load_world().split(split)
        for question in task.questions()
    ]


def reply(lines: Sequence[str]) -> str:
    """The lines as a numbered list."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
