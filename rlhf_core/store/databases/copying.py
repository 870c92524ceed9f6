"""A whole store copied into an empty one: rows in one transaction, counted and compared; artifacts by their digests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from sqlite_utils import Database
from sqlite_utils.db import Table

from rlhf_core.errors import Conflict, InvalidInput, NotFound, Unavailable
from rlhf_core.store.artifacts.folders import ArtifactFolders
from rlhf_core.store.artifacts.object_store import artifacts_at
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.databases.place import (
    ARTIFACTS,
    DATABASE,
    connect,
    connect_to,
    holds_store,
    place_of,
)
from rlhf_core.store.databases.urls import is_database, told
from rlhf_core.store.identity import identity_of
from rlhf_core.store.migrations import charter

BATCH = 2000
"""Rows that are read and written at once."""
_OF_ONE_STORE = ("workers", "store_identity")
"""Not copied: who works on one store does not work on the other, which is another store."""


class Side(NamedTuple):
    """A store, or its rows alone."""

    connections: Connections
    artifacts: ArtifactFolders | None

    def close(self) -> None:
        self.connections.close()


class Ordered(NamedTuple):
    """A table, its columns, and those by which its rows are in order."""

    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]


def existing(where: str) -> str:
    """Return the place itself. Raises NotFound for a folder without a store."""
    if not is_database(where) and not holds_store(Path(where)):
        raise NotFound(f"no store in folder '{where}'")
    return where


def opened(where: str, but: str = "") -> Side:
    """Open the store of a data folder, or the rows of a database.

    Raises InvalidInput where it is the same as another.
    """
    if but and _identity(where) == _identity(but):
        raise InvalidInput(f"'{told(where)}' and '{told(but)}' are the same store; allowed: two places", "to")
    folder = None if is_database(where) else Path(where)
    place = place_of(folder) if folder else None
    connections = connect(folder, place.database) if folder and place else connect_to(where)
    try:
        connections.migrate()
        artifacts = artifacts_at(place.artifacts, folder / ARTIFACTS) if folder and place else None
    except BaseException:
        connections.close()
        raise
    return Side(connections, artifacts)


def copy_rows(source: Connections, target: Connections) -> dict[str, int]:
    """Copy all rows, and return how many there are of each table.

    Nobody writes to either store meanwhile. What was written is read again and compared before it is committed.

    Raises:
        Conflict: the target has rows.
        Unavailable: what was written is not what was read; nothing was written.
    """
    tables = _tables()
    with source.write(alone=True), target.write(durable=True, alone=True) as connection:
        for table in tables:
            if target.rows(f"SELECT 1 AS one FROM {table.name} LIMIT 1"):
                raise Conflict(f"the target has rows of {table.name} already; allowed: a place without a store")
        counts = {}
        for table in tables:
            names = ", ".join(f'"{name}"' for name in table.columns)
            values = ", ".join(f":{name}" for name in table.columns)
            for batch in _batches(source, table):
                rows = [{name: row[name] for name in table.columns} for row in batch]
                connection.executemany(f"INSERT INTO {table.name} ({names}) VALUES ({values})", rows)
            counts[table.name] = _compared(source, target, table)
        target.continue_numbering([(table.name, table.key[0]) for table in tables if len(table.key) == 1])
    return counts


def copy_artifacts(source: Side, target: Side) -> int | None:
    """Copy what the target has not, and return how many artifacts both have; None where a side has rows alone."""
    if source.artifacts is None or target.artifacts is None:
        return None
    target.artifacts.claim(identity_of(target.connections))
    digests = source.artifacts.stored()
    for digest in sorted(set(digests) - set(target.artifacts.stored())):
        if target.artifacts.put_folder(source.artifacts.get_folder(digest)) != digest:
            raise Unavailable(f"the copy of artifact '{digest}' is not equal to it; copy again")
    return len(digests)


def _identity(where: str) -> str:
    if is_database(where):
        return told(where)
    folder = Path(where).resolve()
    return told(place_of(folder).database) or str(folder / DATABASE)


def _tables() -> list[Ordered]:
    """All tables, each after those that it refers to."""
    with Database(memory=True, execute_plugins=False) as newest:
        charter.apply(newest)
        left = [
            table
            for table in newest.tables
            if not table.name.startswith(("_", "sqlite_")) and table.name not in _OF_ONE_STORE
        ]
        ordered: list[Ordered] = []
        while left:
            waiting = {table.name for table in left}
            ready = [
                table for table in left if not {key.other_table for key in table.foreign_keys} & waiting - {table.name}
            ]
            ordered += map(_ordered, ready)
            left = [table for table in left if table not in ready]
    return ordered


def _ordered(table: Table) -> Ordered:
    columns = tuple(column.name for column in table.columns)
    keys = [column for column in table.columns if column.is_pk]
    if "WITHOUT ROWID" in table.schema:
        return Ordered(table.name, columns, tuple(column.name for column in keys))
    if [column.type for column in keys] == ["INTEGER"]:
        return Ordered(table.name, columns, (keys[0].name,))
    return Ordered(table.name, ("rowid", *columns), ("rowid",))


def _batches(connections: Connections, table: Ordered) -> Iterator[Sequence[Row]]:
    """All rows in their order, so many at a time."""
    columns, key = (", ".join(f'"{name}"' for name in names) for names in (table.columns, table.key))
    last: list[object] = []
    while True:
        beyond = f"WHERE ({key}) > ({', '.join('?' * len(last))})" if last else ""
        sql = f"SELECT {columns} FROM {table.name} {beyond} ORDER BY {key} LIMIT {BATCH}"
        rows = connections.rows(sql, last)
        if rows:
            yield rows
            last = [rows[-1][name] for name in table.key]
        if len(rows) < BATCH:
            return


def _compared(source: Connections, target: Connections, table: Ordered) -> int:
    """How many rows both have. Raises Unavailable where one differs from the other's in its place."""
    count = 0
    # In turns, so that neither waits so long that its server takes it for lost.
    for old, new in zip_longest(_batches(source, table), _batches(target, table), fillvalue=()):
        read, written = ([[row[name] for name in table.columns] for row in rows] for rows in (old, new))
        if read != written:
            raise Unavailable(f"the copy of {table.name} is not equal to it; nothing was written")
        count += len(read)
    return count
