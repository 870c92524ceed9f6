"""Answers of a run that its critic let pass, as they were or as revised."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import Demonstration, Sample
from rlhf_core.store.store import Store

AT_ONCE = 500
"""Answers in memory at a time."""


class Passed(NamedTuple):
    """Answers of a run that its critic let pass, each beside the sample that it was at first."""

    shown: list[tuple[Sample, Demonstration]]
    faulty: int
    """How many answers at fault had no revision that was accepted; they are nobody's example."""


def passed(store: Store, run_id: str) -> Passed:
    """Return what a run's critique stage leaves to learn from, in the order of its samples."""
    answers = list(examples(store, run_id))
    shown = [(sample, example) for sample, example in answers if example is not None]
    return Passed(shown, len(answers) - len(shown))


def examples(store: Store, run_id: str) -> Iterator[tuple[Sample, Demonstration | None]]:
    """Yield each answer with what it leaves to learn from, and None where it stays at fault; few of them in memory."""
    after = 0
    while placed := store.run_pages.samples(run_id, AT_ONCE, after, stage="critique"):
        after = placed[-1].place
        steps: dict[str, list[Revision]] = defaultdict(list)
        for step in store.revisions.of_run(run_id, [sample.id for _, sample in placed]):
            steps[step.sample_id].append(step)
        for _, sample in placed:
            yield sample, _example(sample, sorted(steps[sample.id], key=lambda step: step.round))


def _example(sample: Sample, steps: Sequence[Revision]) -> Demonstration | None:
    accepted = [step for step in steps if step.accepted]
    if accepted:
        return Demonstration(prompt=sample.prompt, response=accepted[-1].after, source="revision")
    if not steps:
        return as_it_was(sample, "unasked")
    faultless = all(step.critique.verdict == "complies" for step in steps)
    return as_it_was(sample, "faultless") if faultless else None


def as_it_was(sample: Sample, source: str) -> Demonstration:
    """Return a sample as an example to imitate."""
    return Demonstration(prompt=sample.prompt, response=sample.response, source=source, ended=sample.finished)
