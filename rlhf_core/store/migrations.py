"""The schema, as steps that are applied in order, each once."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from rlhf_core.errors import Conflict
from rlhf_core.store.schema.steps_from_19 import charter


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the schema up to date, inside the caller's write transaction, so that all steps land or none.

    Raises:
        Conflict: the store was written by a newer Charter.
    """
    db = Database(connection, execute_plugins=False, recursive_triggers=False)
    with Database(memory=True, execute_plugins=False) as empty:
        known = {step.name for step in charter.pending(empty)}
    newer = [step.name for step in charter.applied(db) if step.name not in known]
    if newer:
        raise Conflict(f"this store was written by a newer Charter (it has '{newer[-1]}'); upgrade Charter to open it")
    charter.apply(db)
