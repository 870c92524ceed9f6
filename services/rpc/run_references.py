"""Which run the filter of a list means, by an id, a part of one, a name or a resource name."""

from __future__ import annotations

from rlhf_core.store.store import Store
from services.wire import resource_names


def run_id_of(store: Store, given: str) -> str:
    """Return the run's id; empty where the field `run_id` is not given. Raises NotFound for a run that is not there."""
    reference = resource_names.identity(resource_names.RUNS, given, "run_id")
    return store.runs.find(reference).id if reference else ""
