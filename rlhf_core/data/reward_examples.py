"""What a reward model learns from: a pair, a ranking, a rating, or a label for each step of a reply."""

from __future__ import annotations

from typing import Literal, NamedTuple

from rlhf_core.records.samples import Prompt

Source = Literal["ai", "human", "data"]


class LabelledPair(NamedTuple):
    """Two responses to one prompt, and the probability that a is the better one."""

    prompt: Prompt
    a: str
    b: str
    probability: float
    weight: float = 1.0
    source: Source = "ai"
    margin: float = 0.0
    """How far the better one should lead, as a difference of scores."""
    tied: bool = False
    """The labeller found neither better; `probability` is 0.5."""

    @property
    def replies(self) -> tuple[str, ...]:
        return self.a, self.b


class Ranking(NamedTuple):
    """Responses to one prompt with their ranks, 1 being the best; equal ranks are ties."""

    prompt: Prompt
    replies: tuple[str, ...]
    ranks: tuple[float, ...]
    weight: float = 1.0
    source: Source = "data"


class Rating(NamedTuple):
    """One response and a number for it, larger being better; its unit is the file's own."""

    prompt: Prompt
    reply: str
    rating: float
    weight: float = 1.0
    source: Source = "data"

    @property
    def replies(self) -> tuple[str, ...]:
        return (self.reply,)


class StepLabels(NamedTuple):
    """A response in steps, each a line, with the probability that each is good."""

    prompt: Prompt
    steps: tuple[str, ...]
    labels: tuple[float, ...]
    weight: float = 1.0
    source: Source = "data"

    @property
    def lines(self) -> tuple[str, ...]:
        """The steps as they stand in the reply, each but the last with its line end."""
        return (*(f"{step}\n" for step in self.steps[:-1]), self.steps[-1])

    @property
    def replies(self) -> tuple[str, ...]:
        return ("".join(self.lines),)


class GradedLines(NamedTuple):
    """A reply by its lines, with what each is worth in a judge's points, more being better."""

    prompt: Prompt
    reply: str
    grades: tuple[float, ...]
    weight: float = 1.0
    source: Source = "ai"

    @property
    def replies(self) -> tuple[str, ...]:
        return (self.reply,)


Label = LabelledPair | Ranking | Rating | StepLabels | GradedLines


def pairs_of(label: Label) -> list[LabelledPair]:
    """Return the comparisons that a label implies, to measure a model by: two of a ranking each with a better one."""
    if isinstance(label, LabelledPair):
        return [label]
    if not isinstance(label, Ranking):
        return []
    ranked = list(zip(label.replies, label.ranks, strict=True))
    return [
        LabelledPair(label.prompt, a, b, float(first < second), label.weight, label.source)
        for place, (a, first) in enumerate(ranked)
        for b, second in ranked[place + 1 :]
        if first != second
    ]
