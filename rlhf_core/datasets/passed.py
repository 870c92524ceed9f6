"""Answers of a run that its critic let pass, as they were or as revised."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import Demonstration, Sample
from rlhf_core.store.store import Store


class Passed(NamedTuple):
    """Answers of a run that its critic let pass, each beside the sample that it was at first."""

    shown: list[tuple[Sample, Demonstration]]
    faulty: int
    """How many answers at fault no accepted revision mended; they are nobody's example."""


def passed(store: Store, run_id: str) -> Passed:
    """Return what a run's critique stage leaves to learn from, in the order of its samples."""
    steps: dict[str, list[Revision]] = defaultdict(list)
    for step in sorted(store.revisions.of_run(run_id), key=lambda step: step.round):
        steps[step.sample_id].append(step)
    shown, faulty = [], 0
    for sample in store.samples.of_run(run_id, stage="critique"):
        accepted = [step for step in steps[sample.id] if step.accepted]
        if accepted:
            revised = Demonstration(prompt=sample.prompt, response=accepted[-1].after, source="revision")
            shown.append((sample, revised))
        elif all(step.critique.verdict == "complies" for step in steps[sample.id]):
            shown.append((sample, as_it_was(sample, "faultless")))
        else:
            faulty += 1
    return Passed(shown, faulty)


def as_it_was(sample: Sample, source: str) -> Demonstration:
    """Return a sample as an example to imitate."""
    return Demonstration(prompt=sample.prompt, response=sample.response, source=source)
