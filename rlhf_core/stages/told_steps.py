"""What a run has told of its steps, before an interruption too."""

from __future__ import annotations

from collections.abc import Iterator

from rlhf_core.records.runs import StepMetrics
from rlhf_core.store.store import Store

PAGE = 1000


def told_steps(store: Store, run_id: str) -> Iterator[StepMetrics]:
    """Yield each step's numbers, in the order in which they were told; a step that was done twice comes twice."""
    after = 0
    while events := store.events.of_run(run_id, after, PAGE):
        after = events[-1].sequence
        yield from (StepMetrics.model_validate_json(event.body) for event in events if event.kind == "metrics")
