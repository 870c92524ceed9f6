"""The pretraining corpus: what the world is like, and how to answer, criticise, revise and judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from numpy.random import Generator

from rlhf_core.feedback.templates import (
    COMPARE_FORMAT,
    LABELS,
    critique_conversation,
    notes_conversation,
    revise_conversation,
)
from rlhf_core.records.samples import Message, Prompt
from rlhf_core.sandbox import oracle
from rlhf_core.sandbox.scenarios import Draws
from rlhf_core.sandbox.world import EXPERT, KINDS, QUESTIONS, Step, World, reply

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
WORTHS = (0, 2, 3, 4, 6, 6, 9, 9, -6)
"""What lines give in notes on no task, in thirds of a point; -6 is a mistake in a task of 8 points."""


class Aside(NamedTuple):
    """What the beginning of a turn should bring to a judge's mind, where its last word is read."""

    turn: int
    read: str
    word: str


class Document(NamedTuple):
    """A text in pieces, or a conversation; which pieces or turns are learned; how probable A is in the last."""

    pieces: tuple[str, ...] = ()
    turns: tuple[Message, ...] = ()
    learned: tuple[int, ...] = ()
    p_a: tuple[float, ...] = ()
    given: tuple[int, ...] = ()
    """The turns of which only a judge's verdicts are learned."""
    asides: tuple[Aside, ...] = ()


class Corpus:
    """Draws documents from a seeded generator."""

    def __init__(self, world: World, rng: Generator):
        self.world, self.rng = world, rng
        self.draws = Draws(world, rng)
        self.gold = self.draws.gold

    def entry(self) -> Document:
        """Write what an encyclopedia says about a task or a step."""
        if self.rng.random() < 0.7:
            task = self.draws.pick(self.draws.chores)
            steps = reply([step.text for step in task.steps])
            if self.rng.random() < 0.35:
                head = self.draws.pick(("How to {}:\n", "To {}:\n", "The steps to {} are:\n")).format(task.name)
                return Document(pieces=(head + steps,), learned=(0,))
            if self.rng.random() < 0.45:
                graded = self.gold.worth_of_lines(self.draws.ask(task), self.draws.response(task))
                worth = reply([f"{line}, {'wrong' if thirds is None else thirds}" for line, thirds in graded])
                return Document(pieces=(f"To {task.name}:\n{steps}\nWhat lines give:\n{worth}",), learned=(0,))
            kinds = self.draws.avoided()
            head = self.draws.pick(("How to {} without {}:\n", "To {} without {}:\n"))
            safer = oracle.revision(self.world, steps, kinds)
            return Document(pieces=(head.format(task.name, self.draws.listed(kinds)) + safer,), learned=(0,))
        if self.rng.random() < 0.25:
            kinds = self.draws.kinds()
            request = self.draws.pick(CRITIQUE_REQUESTS).format(self.draws.listed(kinds))
            return Document(pieces=(request + "\n", oracle.asked(KINDS, kinds)), learned=(1,))
        if self.rng.random() < 0.4:
            alike = self.rng.random() < 0.5
            steps = self.draws.alike() if alike else [self.world.steps[self.draws.step()] for _ in range(4)]
            first = reply([step.text for step in steps])
            if self.rng.random() < 0.4:
                return Document(pieces=(first + "\nAgain:\n", first), learned=(1,))
            safer = reply([(step.safer or EXPERT) if step.severity else step.text for step in steps])
            return Document(pieces=(first + "\nSafer:\n", safer), learned=(1,))
        pieces = []
        for number in range(1, int(self.rng.integers(3, 7))):
            step = self.world.steps[self.draws.step()]
            pieces += [f"{number}. {step.text}" if number == 1 else f"\n{number}. {step.text}", _note(step)]
        return Document(pieces=tuple(pieces), learned=tuple(range(1, len(pieces), 2)))

    def copying(self) -> Document:
        """Write lines of words that make no sense, and the same again: to copy is to look, not to know."""
        words = [word for _ in range(8) for word in self.draws.step().split()]
        lines = [[self.draws.pick(words) for _ in range(int(self.rng.integers(2, 6)))] for _ in range(4)]
        first = reply([" ".join(line) for line in lines])
        return Document(pieces=(f"{first}\nAgain:\n", first), learned=(1,))

    def question(self) -> Document:
        """Write a question and its answer.

        The answer is helpful, hazards and all, unless the question itself asks to do without some.
        """
        task = self.draws.task()
        answer = reply([step.text for step in task.steps])
        if self.rng.random() < 0.45:
            turn = Message(role="assistant", content=answer)
            return Document(turns=(*self.draws.ask(task).messages, turn), learned=(1,))
        kinds = self.draws.avoided()
        careful = self.draws.pick(CAREFUL).format(self.draws.listed(kinds))
        asked = Message(role="user", content=f"{self.draws.pick(QUESTIONS).format(task.name)} {careful}")
        turn = Message(role="assistant", content=oracle.revision(self.world, answer, kinds))
        return Document(turns=(asked, turn), learned=(1,))

    def criticism(self) -> Document:
        """Write an answer, its critique and its revision."""
        task = self.draws.task()
        prompt = self.draws.ask(task)
        response = self.draws.response(task) if self.rng.random() < 0.5 else self.draws.jumble()
        kinds = self.draws.kinds()
        for _ in range(2):
            if not oracle.flagged(self.world, response, kinds):
                kinds = self.draws.kinds()
        request = self.draws.pick(CRITIQUE_REQUESTS).format(self.draws.listed(kinds))
        revise = self.draws.pick(REVISE_REQUESTS).format(self.draws.listed(kinds))
        critique = oracle.critique(self.world, response, kinds)
        if not oracle.flagged(self.world, response, kinds):
            turns = critique_conversation(prompt, response, request)
            return Document(turns=(*turns, Message(role="assistant", content=critique)), learned=(1,))
        turns = revise_conversation(prompt, response, request, critique, revise)
        revised = Message(role="assistant", content=oracle.revision(self.world, response, kinds))
        return Document(turns=(*turns, revised), learned=(1, 3))

    def judgement(self) -> Document:
        """Write the right answer, two others, a judge's notes on them, and which is better by each question."""
        task = self.draws.task()
        prompt = self.draws.ask(task)
        jumbled = self.rng.random() < 0.3
        a, b = (self.draws.jumble() if jumbled else self.draws.response(task) for _ in range(2))
        notes = Message(role="assistant", content=oracle.notes(self.gold, prompt, a, b))
        less = {kind: oracle.preference(self.gold, prompt, a, b, (kind,)) for kind in KINDS}
        more = oracle.preference(self.gold, prompt, a, b, ())
        answer = reply([step.text for step in task.steps])
        turns = notes_conversation(prompt, answer, a, b)
        document = self._questions([*turns, notes], less, more, QUESTIONS_PER_PAIR)
        return document._replace(asides=(*self._worths(prompt, turns[-1].content, a, b), *document.asides))

    def summing_up(self) -> Document:
        """Write a judge's notes alone, on any lines, with many questions: what they come to is all that decides."""
        noted = self.rng.permutation(KINDS)[: self.rng.integers(1, 6)].tolist()
        less, gives, grades = dict.fromkeys(KINDS, 0), 0, ([], [])
        for sign, lines in zip((-1, 1), grades, strict=True):
            for _ in range(int(self.rng.integers(1, 5))):
                kind, risk = self.draws.pick(noted), int(self.rng.integers(1, 4))
                worth = self.draws.pick(WORTHS)
                hazardous = self.rng.random() < 0.6
                said = "wrong" if worth < 0 else worth
                lines.append(f"{kind} {risk} {said}" if hazardous else f"safe {said}")
                less[kind] += sign * risk * hazardous
                gives -= sign * worth
        notes = Message(role="assistant", content=oracle.noted(*grades, {**less, "helps": gives}))
        logits = {kind: oracle.HARMLESS_SLOPE * points for kind, points in less.items()}
        more = oracle.HELPFUL_SLOPE * gives / 27
        return self._questions([notes], logits, more, 6)._replace(given=(0,))

    def _worths(self, prompt: Prompt, shown: str, a: str, b: str) -> Iterator[Aside]:
        """What each line of the two replies gives, to be known as soon as it is read."""
        end = 0
        for response in (a, b):
            for line, thirds in self.gold.worth_of_lines(prompt, response):
                end = shown.index(line, end) + len(line)
                yield Aside(2, shown[:end], "wrong" if thirds is None else str(thirds))

    def _questions(self, turns: list[Message], less: Mapping[str, float], more: float, most: int) -> Document:
        """The turns, then questions with their answers, ties last to be asked.

        `less`, `more`: the logits that A has less risk of each kind, and that it helps more.
        """
        opening, asides = len(turns), list[Aside]()
        logits = [((), more)] + [((kind,), less[kind]) for kind in KINDS]
        logits += [(kinds, sum(less[kind] for kind in kinds)) for kinds in (self.draws.kinds(), self.draws.kinds())]
        decided, ties = [item for item in logits if item[1] != 0], [item for item in logits if item[1] == 0]
        chosen = ([decided[i] for i in self.rng.permutation(len(decided))] + ties)[:most]
        for kinds, _ in chosen:
            question = self.draws.pick(HARMLESS_QUESTIONS if kinds else HELPFUL_QUESTIONS).format(
                self.draws.listed(kinds)
            )
            topics = {kind: less[kind] for kind in kinds} or {question.rstrip("?").split()[-1]: more}
            asked = f"{COMPARE_FORMAT} {question}"
            read = {asked[: asked.index(word) + len(word)]: advantage for word, advantage in topics.items()}
            asides += [Aside(len(turns), text, oracle.better(advantage)) for text, advantage in read.items()]
            turns.append(Message(role="user", content=asked))
            turns.append(Message(role="assistant", content=LABELS[0]))
        learned = (*range(1, opening, 2), *range(opening + 1, len(turns), 2))
        return Document((), tuple(turns), learned, tuple(oracle.sigmoid(x) for _, x in chosen), (), tuple(asides))


def _note(step: Step) -> str:
    """What the encyclopedia remarks on a step."""
    if not step.severity:
        return " (safe)"
    return f" ({step.kind} {step.severity}, safer: {step.safer or EXPERT})"
