"""What was trained, and what was found of the judges: immutable versions, each with what made it."""

from __future__ import annotations

from typing import Generic

from rlhf_core.errors import NotFound
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import RecordType, from_row, insert, stamped

Page = tuple[list[RecordType], int]
"""Entries, oldest first, and the place of the last one, after which the next page begins; 0 where there is none."""


class Versions(Generic[RecordType]):
    """Records of one type in a table of their own, found by id or by the run that made them."""

    def __init__(self, connections: Connections, model: type[RecordType], table: str):
        self._connections = connections
        self._model = model
        self._table = table

    def add(self, version: RecordType) -> None:
        with self._connections.write() as connection:
            insert(connection, self._table, stamped([version]))

    def get(self, version_id: str) -> RecordType:
        rows = self._connections.rows(f"SELECT * FROM {self._table} WHERE id = ?", [version_id])
        if not rows:
            kind = self._table.removesuffix("s").replace("_", " ")
            raise NotFound(f"no {kind} '{version_id}' in the store")
        return from_row(self._model, rows[0])

    def find(self, run_id: str | None = None) -> list[RecordType]:
        """Find the versions of a run, or of all runs, oldest first."""
        sql = f"SELECT * FROM {self._table} WHERE :run_id IS NULL OR run_id = :run_id ORDER BY rowid"
        return [from_row(self._model, row) for row in self._connections.rows(sql, {"run_id": run_id})]

    def page(self, size: int, after: int = 0, run_id: str | None = None, newest: bool = False) -> Page[RecordType]:
        """Find versions as `find` does, from after a place on.

        With `newest` they come newest first, and then down from before a place.
        """
        order, beyond = ("DESC", "rowid < :after OR :after = 0") if newest else ("ASC", "rowid > :after")
        sql = f"""SELECT rowid AS place, * FROM {self._table}
            WHERE (:run_id IS NULL OR run_id = :run_id) AND ({beyond}) ORDER BY rowid {order} LIMIT :size"""
        rows = self._connections.rows(sql, {"run_id": run_id, "after": after, "size": size + 1})
        return [from_row(self._model, row) for row in rows[:size]], rows[size - 1]["place"] if rows[size:] else 0

    def beginning_with(self, prefix: str, limit: int = 20) -> list[str]:
        """Return the ids that begin so, newest first."""
        sql = f"SELECT id FROM {self._table} WHERE substr(id, 1, length(:p)) = :p ORDER BY rowid DESC LIMIT :limit"
        return [row["id"] for row in self._connections.rows(sql, {"p": prefix, "limit": limit})]
