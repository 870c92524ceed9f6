"""The seam between the store and its database: SQLite for one host, PostgreSQL for many processes on many hosts.

The store's modules write one SQL, which both understand as it stands; `?` and `:name` are its parameters, JSON lists
travel as text that `json_each` opens, and `rowid` is the order in which rows came. What else SQLite has,
`databases.postgres_sql` gives to PostgreSQL. Where the two keep others out in different ways, the store says what it
wants by `hold`, `lock` and `alone`, of which SQLite needs none: it has one writer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

Parameters = Sequence[Any] | Mapping[str, Any]
Hold = Literal["", "wait", "skip"]
"""Whether the rows that are read stay as they are until the transaction ends: no; yes, once others let go of them; yes,
without those that others hold."""


class Row(Protocol):
    """One row, its values by the names of their columns."""

    def __getitem__(self, column: str, /) -> Any: ...


class Cursor(Protocol):
    """What a statement has found or changed."""

    @property
    def rowcount(self) -> int: ...

    def fetchone(self) -> Row | None: ...

    def fetchall(self) -> list[Row]: ...

    def __iter__(self) -> Iterator[Row]: ...


class Connection(Protocol):
    """The connection of a transaction that may write."""

    def execute(self, sql: str, parameters: Parameters = (), /) -> Cursor: ...

    def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]], /) -> object: ...


class Connections(Protocol):
    """A process' ways into one database."""

    def write(self, durable: bool = False, alone: bool = False) -> AbstractContextManager[Connection]:
        """Open one transaction: it commits at the end, rolls back on any exception; inside another, it joins that one.

        `durable` waits for the disk, so that the commit outlives a power cut; `alone` waits until no other transaction
        writes, and lets none begin. Never await inside.
        """
        ...

    def rows(self, sql: str, parameters: Parameters = (), hold: Hold = "") -> list[Row]:
        """Read all rows of a query; inside `write`, the thread sees what it has written, and may hold the rows."""
        ...

    def lock(self, *name: str) -> None:
        """Wait, inside `write`, until no other transaction has locked this name, and keep it until the end."""
        ...

    def listen(self, wake: Callable[[], None]) -> bool:
        """Call `wake`, from a thread of its own, whenever a run is queued; False where the database cannot tell."""
        ...

    def migrate(self) -> None:
        """Bring the schema up to date. Raises Conflict where a newer Charter wrote it."""
        ...

    def tables_with(self, column: str) -> list[str]:
        """List the tables that have such a column."""
        ...

    def continue_numbering(self, columns: Sequence[tuple[str, str]]) -> None:
        """Give new rows, inside `write`, numbers above all that these columns (table, column) hold."""
        ...

    def integrity_check(self) -> list[str]:
        """Say what is wrong with the database; empty when it is sound."""
        ...

    def close(self) -> None: ...
