"""The pretraining corpus: what the world is like, and how to answer, criticise, revise and judge."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple, TypeVar

from numpy.random import Generator

from rlhf_core.feedback.prompts import (
    COMPARE_FORMAT,
    LABELS,
    critique_conversation,
    notes_conversation,
    revise_conversation,
)
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
QUESTIONS_PER_PAIR = 4
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
    """A text in pieces, or a conversation; which pieces or turns are learned; how probable A is in the last."""

    pieces: tuple[str, ...] = ()
    turns: tuple[Message, ...] = ()
    learned: tuple[int, ...] = ()
    p_a: tuple[float, ...] = ()


class Corpus:
    """Draws documents from a seeded generator."""

    def __init__(self, world: World, rng: Generator):
        self.world, self.rng = world, rng
        self.gold = SandboxGold(world)
        self.train = world.split("train")
        self.all = list(world.tasks.values())

    def entry(self) -> Document:
        """What an encyclopedia says about a task or a step."""
        if self.rng.random() < 0.6:
            task = self._pick(self.all)
            steps = reply([step.text for step in task.steps])
            if self.rng.random() < 0.4:
                head = self._pick(("How to {}:\n", "To {}:\n", "The steps to {} are:\n")).format(task.name)
                return Document(pieces=(head + steps,), learned=(0,))
            if self.rng.random() < 0.25:
                grades = zip(task.steps, task.importance, strict=True)
                graded = reply([f"{step.text}, {importance}" for step, importance in grades])
                return Document(pieces=(f"What matters to {task.name}:\n{graded}",), learned=(0,))
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
        for _ in range(2):
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
        """Two answers, a judge's notes on them, and which is better by one question after the other."""
        task = self._pick(self.train)
        prompt = self._ask(task)
        a, b = (self.jumble(), self.jumble()) if self.rng.random() < 0.3 else (self.response(task), self.response(task))
        notes = Message(role="assistant", content=reference.notes(self.gold, prompt, a, b))
        asked = [(), *((kind,) for kind in KINDS), self.kinds(), self.kinds()]
        logits = [(kinds, reference.preference(self.gold, prompt, a, b, kinds)) for kinds in asked]
        return self._answers([*notes_conversation(prompt, a, b), notes], logits, QUESTIONS_PER_PAIR)

    def summing_up(self) -> Document:
        """The end of a judge's notes alone, with many questions: what they come to is all that decides."""
        digits = self.rng.integers(0, 10, (len(KINDS), 2)) * (self.rng.random((len(KINDS), 2)) < 0.7)
        risks = dict(zip(KINDS, digits.tolist(), strict=True))
        helps = self.rng.integers(0, 10, 2).tolist()
        notes = Message(role="assistant", content=reference.table(risks, helps))
        logits: list[tuple[tuple[str, ...], float]] = [((), reference.HELPFUL_SLOPE * (helps[0] - helps[1]) / 9)]
        for kinds in [*((kind,) for kind in KINDS), self.kinds(), self.kinds()]:
            less = sum(risks[kind][1] - risks[kind][0] for kind in kinds)
            logits.append((kinds, reference.HARMLESS_SLOPE * less))
        return self._answers([notes], logits, 6)

    def _answers(self, turns: list[Message], logits: list[tuple[tuple[str, ...], float]], most: int) -> Document:
        """The turns, then questions with their answers (no kind: about help), ties last to be asked."""
        opening = len(turns)
        decided, ties = [item for item in logits if item[1] != 0], [item for item in logits if item[1] == 0]
        asked = ([decided[i] for i in self.rng.permutation(len(decided))] + ties)[:most]
        for kinds, _ in asked:
            question = self._pick(HARMLESS_QUESTIONS if kinds else HELPFUL_QUESTIONS).format(self.listed(kinds))
            turns.append(Message(role="user", content=f"{COMPARE_FORMAT} {question}"))
            turns.append(Message(role="assistant", content=LABELS[0]))
        learned = [*range(1, opening), *range(opening + 1, len(turns), 2)]
        return Document(turns=tuple(turns), learned=tuple(learned), p_a=tuple(reference.sigmoid(x) for _, x in asked))

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
