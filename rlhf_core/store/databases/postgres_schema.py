"""The schema of a PostgreSQL store: the same steps as SQLite's, in its own words, each once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

from sqlite_utils import Database

from rlhf_core.errors import Conflict
from rlhf_core.store.connection import Connection, Connections
from rlhf_core.store.databases.postgres_sql import BELL, FUNCTIONS, schema_statement, view_statement
from rlhf_core.store.migrations import charter
from rlhf_core.store.row_mapping import now

_LEDGER = "CREATE TABLE IF NOT EXISTS charter_migrations (name TEXT PRIMARY KEY, applied_at TEXT NOT NULL)"


def migrate(connections: Connections) -> None:
    """Bring the schema up to date, in one transaction that no other writes beside.

    Raises:
        Conflict: the store was written by a newer Charter.
    """
    with Database(memory=True, execute_plugins=False) as newest:
        steps = charter.pending(newest)
        if _applied(connections) == {step.name for step in steps}:
            return
        charter.apply(newest)
        views = {view.name: view.schema for view in newest.views}
    with connections.write(durable=True, alone=True) as connection:
        connection.execute(_LEDGER)
        # Looked at again: until now another process may have applied them.
        applied = _applied(connections)
        if newer := sorted(applied - {step.name for step in steps}):
            raise Conflict(
                f"this store was written by a newer Charter (it has '{newer[-1]}'); upgrade Charter to open it"
            )
        for statement in (*(f"DROP VIEW IF EXISTS {name}" for name in views), *FUNCTIONS):
            connection.execute(statement)
        for step in steps:
            if step.name not in applied:
                step.fn(cast(Database, _Step(connection)))
                connection.execute("INSERT INTO charter_migrations VALUES (?, ?)", [step.name, now()])
        for statement in (*map(view_statement, views.values()), BELL):
            connection.execute(statement)


def _applied(connections: Connections) -> set[str]:
    there = connections.rows("SELECT to_regclass('charter_migrations') IS NOT NULL AS there")[0]["there"]
    found = connections.rows("SELECT name FROM charter_migrations") if there else []
    return {row["name"] for row in found}


class _Rows(Protocol):
    def __iter__(self) -> Any: ...


class _Step:
    """What a step of the migrations is given in place of sqlite_utils' database."""

    def __init__(self, connection: Connection):
        self._connection = connection

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        statement = schema_statement(sql)
        if not statement:
            return []
        done = self._connection.execute(statement, parameters)
        return [tuple(cast(dict[str, Any], row).values()) for row in done] if statement.startswith("SELECT") else []
