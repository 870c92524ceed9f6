"""The pretraining corpus: what the world is like, and how to answer, criticise, revise and judge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from numpy.random import Generator

from rlhf_core.feedback.prompts import LABELS, compare_conversation, critique_conversation, revise_conversation
from rlhf_core.records import Message, Prompt
from rlhf_core.sandbox import reference
from rlhf_core.sandbox.gold import SandboxGold
from rlhf_core.sandbox.world import EXPERT, KINDS, QUESTIONS, Step, Task, World, reply

T = TypeVar("T")

CRITIQUE_REQUESTS = (
    "Check the reply for {}.",
    "Does the reply risk {}?",
    "Find every step that risks {}.",
    "Point out any danger of {} in the reply.",
    "Which steps could lead to {}?",
    "Look for {}.",
)
CAREFUL = ("Avoid {}.", "I want no {}.", "Do it without {}.")
"""What a careful user adds to a question; the shipped model can do without hazards when it is told to."""
REVISE_REQUESTS = (
    "Rewrite the reply without those risks.",
    "Replace those steps with safer ones.",
    "Give a safer reply.",
    "Rewrite the reply so that nothing risks {}.",
)
HARMLESS_QUESTIONS = (
    "Which reply has less risk of {}?",
    "Which reply better avoids {}?",
    "Which reply is safer with regard to {}?",
)
HELPFUL_QUESTIONS = (
    "Which reply gives more of the steps that are needed?",
    "Which reply gets more of the task done?",
    "Which reply is more helpful?",
)
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


class Document(NamedTuple):
    """A text in pieces, or a conversation; which pieces or turns are learned; a judge's probability of A."""

    pieces: tuple[str, ...] = ()
    turns: tuple[Message, ...] = ()
    learned: tuple[int, ...] = ()
    p_a: float | None = None


class Corpus:
    """Draws documents from a seeded generator."""

    def __init__(self, world: World, rng: Generator):
        self.world, self.rng = world, rng
        self.gold = SandboxGold(world)
        self.train = world.split("train")
        self.all = list(world.tasks.values())
        steps = world.steps.values()
        self._hazards = {kind: [step.text for step in steps if step.kind == kind and step.severity] for kind in KINDS}

    def entry(self) -> Document:
        """What an encyclopedia says about a task or a step."""
        if self.rng.random() < 0.6:
            task = self._pick(self.all)
            steps = reply([step.text for step in task.steps])
            if self.rng.random() < 0.4:
                head = self._pick(("How to {}:\n", "To {}:\n", "The steps to {} are:\n")).format(task.name)
                return Document(pieces=(head + steps,), learned=(0,))
            kinds = self.kinds() if self.rng.random() < 0.6 else KINDS
            head = self._pick(("How to {} without {}:\n", "To {} without {}:\n"))
            safer = reference.revision(self.world, steps, kinds)
            return Document(pieces=(head.format(task.name, self.listed(kinds)) + safer,), learned=(0,))
        if self.rng.random() < 0.25:
            kinds = self.kinds()
            request = self._pick(CRITIQUE_REQUESTS).format(self.listed(kinds))
            return Document(pieces=(request + "\n", reference.asked(KINDS, kinds)), learned=(1,))
        if self.rng.random() < 0.4:
            steps = [self.world.steps[self._step()] for _ in range(int(self.rng.integers(2, 6)))]
            first = reply([step.text for step in steps])
            if self.rng.random() < 0.4:
                return Document(pieces=(first + "\nAgain:\n", first), learned=(1,))
            safer = reply([(step.safer or EXPERT) if step.severity else step.text for step in steps])
            return Document(pieces=(first + "\nSafer:\n", safer), learned=(1,))
        pieces = []
        for number in range(1, int(self.rng.integers(3, 7))):
            step = self.world.steps[self._step()]
            pieces += [f"{number}. {step.text}" if number == 1 else f"\n{number}. {step.text}", _note(step)]
        return Document(pieces=tuple(pieces), learned=tuple(range(1, len(pieces), 2)))

    def question(self) -> Document:
        """A question and its answer: helpful, hazards and all, unless the question itself asks to do without some."""
        task = self._pick(self.train)
        answer = reply([step.text for step in task.steps])
        if self.rng.random() < 0.45:
            turn = Message(role="assistant", content=answer)
            return Document(turns=(*self._ask(task).messages, turn), learned=(1,))
        kinds = self.kinds() if self.rng.random() < 0.7 else KINDS
        careful = self._pick(CAREFUL).format(self.listed(kinds))
        asked = Message(role="user", content=f"{self._pick(QUESTIONS).format(task.name)} {careful}")
        turn = Message(role="assistant", content=reference.revision(self.world, answer, kinds))
        return Document(turns=(asked, turn), learned=(1,))

    def criticism(self) -> Document:
        """An answer, its critique and its revision."""
        task = self._pick(self.train)
        prompt, response = self._ask(task), self.response(task) if self.rng.random() < 0.5 else self.jumble()
        kinds = self.kinds()
        if not reference.flagged(self.world, response, kinds):
            kinds = self.kinds()
        request = self._pick(CRITIQUE_REQUESTS).format(self.listed(kinds))
        revise = self._pick(REVISE_REQUESTS).format(self.listed(kinds))
        critique = reference.critique(self.world, response, kinds)
        if not reference.flagged(self.world, response, kinds):
            turns = critique_conversation(prompt, response, request)
            return Document(turns=(*turns, Message(role="assistant", content=critique)), learned=(1,))
        turns = revise_conversation(prompt, response, request, critique, revise)
        revised = Message(role="assistant", content=reference.revision(self.world, response, kinds))
        return Document(turns=(*turns, revised), learned=(1, 3))

    def judgement(self) -> Document:
        """Two answers to one task, and which is better."""
        task = self._pick(self.train)
        prompt, kinds = self._ask(task), self.kinds() if self.rng.random() < 0.65 else ()
        if kinds and self.rng.random() < 0.5:
            a, b, kinds = self.duel()
        else:
            a, b = self.response(task), self.response(task)
        logit = reference.preference(self.gold, prompt, a, b, kinds)
        if logit == 0 and self.rng.random() < 0.7:
            kinds, b = self.kinds() if kinds else (), self.response(task)
            logit = reference.preference(self.gold, prompt, a, b, kinds)
        question = self._pick(HARMLESS_QUESTIONS if kinds else HELPFUL_QUESTIONS).format(self.listed(kinds))
        turns = compare_conversation(prompt, a, b, question)
        letter = Message(role="assistant", content=LABELS[0])
        return Document(turns=(*turns, letter), learned=(1,), p_a=reference.sigmoid(logit))

    def response(self, task: Task) -> str:
        """A random answer: each step as it is, made safer or left to an expert; at times one is wrong or missing."""
        boldness = self._pick((0.3, 0.6, 0.6, 1.0))
        lines = [self._line(step, boldness) for step in task.steps]
        accident = self.rng.random()
        place = int(self.rng.integers(len(lines)))
        if accident < 0.12:
            lines[place] = self._pick(list(self.world.steps))
        elif accident < 0.18:
            lines[place] = self._pick(lines)
        elif accident < 0.24:
            lines = lines[:place]
        return reply(lines)

    def duel(self) -> tuple[str, str, tuple[str, ...]]:
        """Two short replies with hazards of different kinds, asked about one of them: only the question decides."""
        first, second = (KINDS[i] for i in self.rng.permutation(len(KINDS))[:2])
        replies = []
        for kind in (first, second):
            lines = [self._pick(self._hazards[kind])] + [self._step() for _ in range(int(self.rng.integers(2)))]
            replies.append(reply([lines[i] for i in self.rng.permutation(len(lines))]))
        return replies[0], replies[1], (self._pick((first, second)),)

    def jumble(self) -> str:
        """Steps of any tasks: here only the steps themselves tell what is at fault."""
        length = int(self.rng.integers(1, 5))
        return reply([self._step() for _ in range(length)])

    def kinds(self) -> tuple[str, ...]:
        """A combination of kinds in any order, single kinds more often than others."""
        if self.rng.random() < 0.5:
            return (self._pick(KINDS),)
        kinds = self._pick(SUBSETS)
        return tuple(kinds[place] for place in self.rng.permutation(len(kinds)))

    def listed(self, kinds: Sequence[str]) -> str:
        """The kinds in words: "fumes, burns or cuts"."""
        if len(kinds) < 2:
            return "".join(kinds)
        return f"{', '.join(kinds[:-1])} {self._pick(('or', 'or', 'and'))} {kinds[-1]}"

    def _line(self, step: Step, boldness: float) -> str:
        if self.rng.random() < boldness:
            return step.text
        if step.safer and self.rng.random() < 0.6:
            return step.safer
        return EXPERT if step.severity or self.rng.random() < 0.5 else step.text

    def _step(self) -> str:
        """Any step; those of tasks, which are hazardous more often, twice as likely as all that is known."""
        if self.rng.random() < 0.33:
            return self._pick(list(self.world.steps))
        return self._pick(self._pick(self.all).steps).text

    def _ask(self, task: Task) -> Prompt:
        return Prompt.of(self._pick(QUESTIONS).format(task.name))

    def _pick(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]


def _note(step: Step) -> str:
    """What the encyclopedia remarks on a step."""
    if not step.severity:
        return " (safe)"
    return f" ({step.kind} {step.severity}, safer: {step.safer or EXPERT})"
