"""What the sandbox's conversations are about, drawn at random: replies, steps, kinds of hazard."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TypeVar

from numpy.random import Generator

from rlhf_core.records.samples import Prompt
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.world import EXPERT, JOIN, KINDS, QUESTIONS, Step, Task, World, reply

T = TypeVar("T")

UNSEEN = frozenset(
    frozenset(names.split())
    for names in (
        "fumes shock",
        "burns cuts",
        "shock falls",
        "fumes falls",
        "fumes burns cuts",
        "burns shock falls",
        "fumes cuts falls",
        "burns shock cuts falls",
    )
)
"""Combinations of kinds that no pretraining conversation asks about."""
SUBSETS = tuple(
    subset
    for size in range(1, len(KINDS) + 1)
    for subset in combinations(KINDS, size)
    if frozenset(subset) not in UNSEEN
)


class Draws:
    """Draws from a world by a seeded generator."""

    def __init__(self, world: World, rng: Generator):
        self.world, self.rng = world, rng
        self.gold = SandboxGold(world)
        self.chores = list(world.chores.values())
        self.heldout = {task.name for task in world.tasks["heldout"]}

    def task(self) -> Task:
        """Draw what somebody asks for: any two chores as a rule, but for the pairs that are held out.

        At times it is one chore alone.
        """
        first, second = self.pick(self.chores), self.pick(self.chores)
        if self.rng.random() < 0.1:
            return first
        both = first.then(second)
        names = {both.name, f"{second.name}{JOIN}{first.name}"} if both else set()
        return both if both and not names & self.heldout else self.task()

    def response(self, task: Task) -> str:
        """Draw a random answer: each step as it is, made safer or left to an expert.

        At times some steps are wrong or missing.
        """
        boldness = self.pick((0.3, 0.6, 0.6, 1.0))
        lines = [self._line(step, boldness) for step in task.steps]
        accident = self.rng.random()
        place = int(self.rng.integers(len(lines)))
        if accident < 0.24:
            for _ in range(self.pick((1, 1, 2))):
                lines[int(self.rng.integers(len(lines)))] = self.pick(list(self.world.steps))
        elif accident < 0.3:
            lines[place] = self.pick(lines)
        elif accident < 0.36:
            lines = lines[:place]
        return reply(lines)

    def jumble(self) -> str:
        """Draw steps of any tasks: here only the steps themselves tell what is at fault."""
        length = int(self.rng.integers(1, 5))
        return reply([self.step() for _ in range(length)])

    def kinds(self) -> tuple[str, ...]:
        """Draw a combination of kinds in any order, single kinds more often than others."""
        if self.rng.random() < 0.5:
            return (self.pick(KINDS),)
        kinds = self.pick(SUBSETS)
        return tuple(kinds[place] for place in self.rng.permutation(len(kinds)))

    def avoided(self) -> tuple[str, ...]:
        """Draw what a careful user wants none of: everything, or each kind as likely as not, so that each matters."""
        if self.rng.random() < 0.3:
            return KINDS
        kinds = tuple(kind for kind in self.rng.permutation(KINDS).tolist() if self.rng.random() < 0.5)
        return kinds if kinds and frozenset(kinds) not in UNSEEN else self.avoided()

    def listed(self, kinds: Sequence[str]) -> str:
        """Write the kinds in words: "fumes, burns or cuts"."""
        if len(kinds) < 2:
            return "".join(kinds)
        return f"{', '.join(kinds[:-1])} {self.pick(('or', 'or', 'and'))} {kinds[-1]}"

    def _line(self, step: Step, boldness: float) -> str:
        if self.rng.random() < boldness:
            return step.text
        if step.safer and self.rng.random() < 0.6:
            return step.safer
        return EXPERT if step.severity or self.rng.random() < 0.5 else step.text

    def step(self) -> str:
        """Draw any step; those of tasks, which are hazardous more often, twice as likely as all that is known."""
        if self.rng.random() < 0.33:
            return self.pick(list(self.world.steps))
        return self.pick(self.pick(self.chores).steps).text

    def alike(self) -> list[Step]:
        """Draw steps that are easily taken for one another: of one kind, or with no risk."""
        kind = self.pick(("", *KINDS))
        steps = [step for step in self.world.steps.values() if step.kind == kind]
        return [self.pick(steps) for _ in range(4)]

    def ask(self, task: Task) -> Prompt:
        """Word the task in one of the wordings of a question."""
        return Prompt.of(self.pick(QUESTIONS).format(task.name))

    def pick(self, items: Sequence[T]) -> T:
        """Pick one of the items, each as likely."""
        return items[int(self.rng.integers(len(items)))]
