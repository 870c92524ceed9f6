"""The doors of a SQLite file: many readers, one writer at a time across threads and processes.

SQLite before 3.51.3 can lose a commit when two connections write or checkpoint at the same instant, and a deferred
transaction that reads before it writes fails at once under contention. So every write here takes one `flock` and
begins `IMMEDIATE`; outside of `write` each connection is `query_only`, so that no statement can go round the lock.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from rlhf_core.errors import CharterError, InvalidInput, NotFound, Unavailable
from rlhf_core.store.connection import Hold, Parameters, Row
from rlhf_core.store.migrations import migrate
from rlhf_core.store.row_mapping import time_text

BUSY_SECONDS = 30.0
WAL_BYTES = 64 * 2**20
"""The write-ahead log is cut back to this size after a checkpoint."""


class _Connection(sqlite3.Connection):
    """A connection that can be referred to weakly, so that a finished thread's reader is freed with it."""


class SqliteConnections:
    """This process' connections to one file: one writer behind a lock, and one reader for each thread."""

    def __init__(self, database: Path, lock: Path):
        self._database = database
        self._process = os.getpid()
        self._lock = threading.RLock()
        self._depth = 0
        self._writing_thread = 0
        self._closed = False
        self._local = threading.local()
        self._readers: weakref.WeakSet[_Connection] = weakref.WeakSet()
        self._lock_file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            with self._named_errors(), self._exclusive():
                self._writer = self._connect()
                _use_write_ahead_log(self._writer)
        except BaseException:
            os.close(self._lock_file)
            raise

    @contextmanager
    def write(self, durable: bool = False, alone: bool = False) -> Iterator[sqlite3.Connection]:
        """Open one transaction: it commits at the end, rolls back on any exception; inside another, it joins that one.

        `durable` waits for the disk, so that the commit outlives a power cut. Never await inside.
        """
        with self._named_errors(), self._exclusive():
            self._require_open()
            unit = _savepoint(self._writer) if self._writer.in_transaction else self._transaction(durable)
            with unit:
                yield self._writer

    def rows(self, sql: str, parameters: Parameters = (), hold: Hold = "") -> list[Row]:
        """Read all rows of a query; inside `write`, the thread sees what it has written."""
        self._require_open()
        with self._named_errors():
            inside = self._writing_thread == threading.get_ident()
            connection = self._writer if inside else self._reader()
            return connection.execute(sql, parameters).fetchall()

    def lock(self, *name: str) -> None:
        """Do nothing: who writes is alone."""

    def listen(self, wake: Callable[[], None]) -> bool:
        """Hear nothing: SQLite tells other processes nothing."""
        return False

    def migrate(self) -> None:
        """Bring the schema up to date. Raises Conflict where a newer Charter wrote it."""
        with self.write(durable=True) as connection:
            migrate(connection)

    def tables_with(self, column: str) -> list[str]:
        """List the tables that have such a column."""
        sql = """SELECT m.name FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c
            WHERE m.type = 'table' AND c.name = ?"""
        return [row["name"] for row in self.rows(sql, [column])]

    def continue_numbering(self, columns: Sequence[tuple[str, str]]) -> None:
        """Do nothing: SQLite counts on from the highest."""

    def integrity_check(self) -> list[str]:
        """Say what is wrong with the database; empty when it is sound."""
        pages = [row["integrity_check"] for row in self.rows("PRAGMA integrity_check")]
        broken = [
            f"a row of {row['table']} refers to a missing row of {row['parent']}"
            for row in self.rows("PRAGMA foreign_key_check")
        ]
        return [line for line in pages if line != "ok"] + broken

    def close(self) -> None:
        """Close every connection; under the lock, because the last one to close writes the log back."""
        with self._exclusive():
            if self._closed:
                return
            self._closed = True
            for reader in list(self._readers):
                reader.close()
            self._writer.close()
        os.close(self._lock_file)

    def _connect(self) -> _Connection:
        connection = sqlite3.connect(
            self._database,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        connection.row_factory = sqlite3.Row
        connection.create_function("store_time", 1, time_text)
        connection.execute("PRAGMA foreign_keys=1")
        connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
        connection.execute("PRAGMA temp_store=MEMORY")
        connection.execute("PRAGMA query_only=1")
        return connection

    def _reader(self) -> _Connection:
        reader: _Connection | None = getattr(self._local, "reader", None)
        if reader is None:
            reader = self._local.reader = self._connect()
            self._readers.add(reader)
        return reader

    def _require_open(self) -> None:
        if self._closed:
            raise Unavailable("the store is closed")
        if os.getpid() != self._process:
            # The lock file and the connections would be shared with the parent, and exclude nobody.
            raise Unavailable("a store does not survive fork; open it again in the new process")

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """The lock of this process' threads, then that of all processes; reentrant within a thread."""
        with self._lock:
            if self._depth == 0 and not self._closed:
                fcntl.flock(self._lock_file, fcntl.LOCK_EX)
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0 and not self._closed:
                    fcntl.flock(self._lock_file, fcntl.LOCK_UN)

    @contextmanager
    def _transaction(self, durable: bool) -> Iterator[None]:
        self._writer.execute(f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'}")
        self._writer.execute("PRAGMA query_only=0")
        self._writing_thread = threading.get_ident()
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            yield
            self._writer.execute("COMMIT")
        finally:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            self._writing_thread = 0
            self._writer.execute("PRAGMA query_only=1")

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _named(error, self._database) from error


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    try:
        connection.execute("PRAGMA query_only=0")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA query_only=1")
    except sqlite3.Error:
        connection.close()
        raise


@contextmanager
def _savepoint(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("SAVEPOINT nested")
    try:
        yield
    except BaseException:
        # A full disk makes SQLite roll back the whole transaction, savepoints included.
        if connection.in_transaction:
            connection.execute("ROLLBACK TO nested")
            connection.execute("RELEASE nested")
        raise
    connection.execute("RELEASE nested")


def _named(error: sqlite3.Error, database: Path) -> CharterError | sqlite3.Error:
    """SQLite's error in Charter's words; one that can only be a mistake in our SQL stays as it is."""
    extended = getattr(error, "sqlite_errorcode", 0)
    if extended == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
        return NotFound("a row refers to a prompt, sample, comparison or run that is not in the store")
    code = extended & 0xFF
    if code == sqlite3.SQLITE_CONSTRAINT:
        return InvalidInput(f"the store refuses this row: {error}; allowed: finite numbers, complete rows, valid JSON")
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"no space left for '{database}'; nothing was written")
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return Unavailable(f"'{database}' is damaged or is not a Charter store: {error}")
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return Unavailable(f"cannot use '{database}' now: {error}; nothing was written")
    return error


class Engine(NamedTuple):
    version: str
    resets_safely: bool
    """False where two connections that write while one resets the log can corrupt a WAL database."""


def engine() -> Engine:
    """Return the SQLite engine of this process."""
    return Engine(sqlite3.sqlite_version, resets_safely(sqlite3.sqlite_version_info))


def resets_safely(version: tuple[int, ...]) -> bool:
    """Tell whether this SQLite resets its log without losing a write.

    Fixed in 3.51.3, and in 3.50.7 and 3.44.6 of the older branches (https://sqlite.org/wal.html).
    """
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
