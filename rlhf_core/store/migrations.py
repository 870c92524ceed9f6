"""The schema, as steps that are applied in order, each once.

A released step is never edited: a change of the schema is a new step at the end.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from rlhf_core.errors import Conflict
from rlhf_core.store.first_steps import charter, run_script


@charter()
def m010_requests(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE requests (
          method TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, answer TEXT NOT NULL, created_at TEXT NOT NULL,
          PRIMARY KEY (method, id)) STRICT, WITHOUT ROWID;
        CREATE TABLE workers (owner TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT;
        ALTER TABLE runs ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
        ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
        """,
    )


@charter()
def m011_crashes(db: Database) -> None:
    run_script(db, "ALTER TABLE runs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0")


@charter()
def m012_reward_quality(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE reward_models ADD COLUMN quality TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(quality));
        ALTER TABLE scores ADD COLUMN steps TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(steps));
        """,
    )


@charter()
def m013_data_pairs(db: Database) -> None:
    run_script(db, "ALTER TABLE reward_models ADD COLUMN data_pairs INTEGER NOT NULL DEFAULT 0")


@charter()
def m014_norm_temperature(db: Database) -> None:
    run_script(db, "ALTER TABLE norm_packs ADD COLUMN temperature REAL NOT NULL DEFAULT 1.0")


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
