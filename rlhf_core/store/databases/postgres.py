"""The doors of a PostgreSQL database: many processes on many hosts, which write at the same time.

A transaction is READ COMMITTED, and takes what it decides by: the row of a run (`hold`), or a name (`lock`, an advisory
lock). So nothing has to be done again from its start, as SERIALIZABLE would ask for; what waits for each other in a
circle, or loses its connection, is told as Interrupted with nothing of it written. Each transaction also shares one
lock of the whole store, which `alone` takes for itself.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

from rlhf_core.errors import CharterError, Interrupted, InvalidInput, NotFound, Unavailable
from rlhf_core.store.connection import Hold, Parameters, Row
from rlhf_core.store.databases.postgres_listener import Listener
from rlhf_core.store.databases.postgres_schema import migrate
from rlhf_core.store.databases.postgres_sql import placeholders
from rlhf_core.store.databases.postgres_values import adapt
from rlhf_core.store.databases.urls import told

Session = psycopg.Connection[Any]
PATIENCE_SECONDS = 30.0
"""How long a call waits for the server, for a connection, or for a lock."""
MOST_CONNECTIONS = 16
"""Of one process; the server's own limit, 100 unless it is changed, is for all of them."""
MAX_SCHEMA = 50
"""The channel on which it tells of its runs is called after it, and has 63."""
_SESSION = f"""
SET default_transaction_read_only = on;
SET lock_timeout = '{PATIENCE_SECONDS:.0f}s';
SET idle_in_transaction_session_timeout = '60s';
SET tcp_keepalives_idle = 30;
SET tcp_user_timeout = '60s';
SET client_min_messages = warning;
SET jit = off;
SET enable_material = off
"""
"""Nothing is written outside of `write`, and what a host that is cut off still holds is free after a minute. Queries
are short, and would take longer to compile than to run. The planner takes the live ones of many labels for one, and a
loop over all of them for each comparison must not look cheap to it."""
_HOLD: dict[Hold, str] = {"": "", "wait": " FOR NO KEY UPDATE", "skip": " FOR NO KEY UPDATE SKIP LOCKED"}
"""Not FOR UPDATE: a row that refers to one that is held may be written."""


class PostgresConnections:
    """This process' connections to one database, each lent for one query or one transaction."""

    def __init__(self, url: str):
        """Raises Unavailable where the server does not answer or refuses, InvalidInput for a URL that is none."""
        self._url, self._place = url, shown(url)
        self._process = os.getpid()
        self._local = threading.local()
        self._listener: Listener | None = None
        self._listening = threading.Lock()
        # The pool would wait and try again; the first one says at once what is wrong.
        with self._named_errors(), _connect(url) as first:
            self._schema = _schema_of(first, self._place)
        self._pool: ConnectionPool[Session] = ConnectionPool(
            url,
            kwargs=_options(),
            configure=partial(_configure, schema=self._schema),
            min_size=1,
            max_size=MOST_CONNECTIONS,
            timeout=PATIENCE_SECONDS,
            name="charter",
            open=True,
        )

    @contextmanager
    def write(self, durable: bool = False, alone: bool = False) -> Iterator[Writer]:
        """Open one transaction: it commits at the end, rolls back on any exception; inside another, it joins that one.

        `durable` waits for the disk, so that the commit outlives a power cut; `alone` waits until no other transaction
        writes, and lets none begin. Never await inside.
        """
        with self._named_errors():
            session: Session | None = self._writing()
            if session is not None:
                with session.transaction():
                    if alone:
                        self.lock()
                    yield Writer(session)
                return
            # What the server waits for by default may be more than its own disk.
            unwaited = "" if durable else "SET LOCAL synchronous_commit = off; "
            shared = "" if alone else "_shared"
            begin = f"BEGIN READ WRITE; {unwaited}SELECT pg_advisory_xact_lock{shared}({_number(self._schema)})"
            with self._transaction(begin.encode()) as session:
                yield Writer(session)

    def rows(self, sql: str, parameters: Parameters = (), hold: Hold = "") -> list[Row]:
        """Read all rows of a query; inside `write`, the thread sees what it has written, and may hold the rows."""
        self._require_open()
        with self._named_errors():
            writing = self._writing()
            if writing is not None:
                return Writer(writing).execute(sql + _HOLD[hold], parameters).fetchall()
            session, cursor = self._begun(placeholders(sql), parameters)
            try:
                return cursor.fetchall()
            finally:
                self._pool.putconn(session)

    def lock(self, *name: str) -> None:
        """Wait, inside `write`, until no other transaction has locked this name, and keep it until the end.

        No name is the whole store.
        """
        session = self._writing()
        assert session is not None, "a lock is kept to the end of a transaction"
        with self._named_errors():
            session.execute(f"SELECT pg_advisory_xact_lock({_number(self._schema, *name)})".encode())

    def listen(self, wake: Callable[[], None]) -> bool:
        """Call `wake`, from a thread of its own, whenever a run is queued, and when something may have been missed."""
        with self._listening:
            if self._listener is None:
                self._listener = Listener(lambda: _connect(self._url), self._schema)
        self._listener.add(wake)
        return True

    def migrate(self) -> None:
        """Bring the schema up to date. Raises Conflict where a newer Charter wrote it."""
        migrate(self)

    def tables_with(self, column: str) -> list[str]:
        """List the tables that have such a column."""
        sql = """SELECT c.table_name FROM information_schema.columns AS c JOIN information_schema.tables AS t
            ON t.table_schema = c.table_schema AND t.table_name = c.table_name
            WHERE c.table_schema = ? AND c.column_name = ? AND t.table_type = 'BASE TABLE' ORDER BY c.table_name"""
        return [row["table_name"] for row in self.rows(sql, [self._schema, column])]

    def continue_numbering(self, columns: Sequence[tuple[str, str]]) -> None:
        """Give new rows, inside `write`, numbers above all that these columns (table, column) hold."""
        for table, column in columns:
            sequence = f"pg_get_serial_sequence('{table}', '{column}')"
            self.rows(f"SELECT setval({sequence}, max({column})) FROM {table} WHERE {sequence} IS NOT NULL")

    def integrity_check(self) -> list[str]:
        """Find nothing: the server checks its pages and its references as it reads and writes them."""
        return []

    def close(self) -> None:
        """Close every connection."""
        if self._listener is not None:
            self._listener.close()
        self._pool.close()

    def _writing(self) -> Session | None:
        """The connection of the transaction that this thread is in."""
        return getattr(self._local, "session", None)

    @contextmanager
    def _transaction(self, begin: bytes) -> Iterator[Session]:
        self._require_open()
        session, _ = self._begun(begin)
        self._local.session = session
        try:
            yield session
            if session.execute("COMMIT").statusmessage != "COMMIT":
                raise Interrupted(f"'{self._place}' took a transaction back; nothing was written")
        finally:
            self._local.session = None
            self._give_back(session)

    def _begun(self, sql: bytes, parameters: Parameters = ()) -> tuple[Session, psycopg.Cursor[Any]]:
        """A connection on which this statement, the first of its use, has been carried out.

        A connection that a restart of the server has cut is found out by it, and another takes its place.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            session = self._pool.getconn(max(0.1, deadline - time.monotonic()))
            try:
                return session, session.execute(sql, parameters)
            except BaseException as error:
                cut = session.broken
                self._give_back(session)
                if not (cut and isinstance(error, psycopg.OperationalError)) or time.monotonic() > deadline:
                    raise
                self._pool.check()

    def _give_back(self, session: Session) -> None:
        """To the pool, which closes it if it is cut; what is still open is rolled back."""
        try:
            if session.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
                session.execute("ROLLBACK")
        finally:
            self._pool.putconn(session)

    def _require_open(self) -> None:
        if self._pool.closed:
            raise Unavailable("the store is closed")
        if os.getpid() != self._process:
            raise Unavailable("a store does not survive fork; open it again in the new process")

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            raise _named(error, self._place) from error


class Writer:
    """The connection of a transaction, which takes the store's SQL."""

    def __init__(self, session: Session):
        self._session = session

    def execute(self, sql: str, parameters: Parameters = (), /) -> psycopg.Cursor[Any]:
        return self._session.execute(placeholders(sql), parameters)

    def executemany(self, sql: str, rows: Sequence[Mapping[str, Any]], /) -> None:
        if len(rows) == 1:
            self.execute(sql, rows[0])
            return
        # Not the connection's own cursor, which would wait for each statement before it sends the next.
        with psycopg.Cursor(self._session) as cursor:
            cursor.executemany(placeholders(sql), rows)


def shown(url: str) -> str:
    """Write the place without the password. Raises InvalidInput for a URL that is none."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        parts = {}
    # Whatever libpq says of it may repeat a part of the password.
    if not parts or "@" in f"{parts.get('host', '')}{parts.get('dbname', '')}" or not _is_port(parts.get("port")):
        allowed = "postgresql://USER:PASSWORD@HOST:PORT/DATABASE, % / ? # @ of a password as %25 %2F %3F %23 %40"
        raise InvalidInput(f"store: '{told(url)}' is not a URL of PostgreSQL; allowed: {allowed}", "store") from None
    port = f":{parts['port']}" if "port" in parts else ""
    return f"postgresql://{parts.get('host', '')}{port}/{parts.get('dbname', '')}"


def _is_port(port: Any) -> bool:
    return port is None or all(part.isdigit() or not part for part in str(port).split(","))


def _options() -> dict[str, Any]:
    return {
        "autocommit": True,
        "row_factory": dict_row,
        # Parameters are put into the text here: the server could not tell the type of one that is compared with NULL.
        "cursor_factory": psycopg.ClientCursor,
        "connect_timeout": 10,
        # A server that is gone without a word is noticed after a minute, not after the kernel's quarter of an hour.
        "keepalives_idle": 30,
        "keepalives_interval": 10,
        "keepalives_count": 3,
        "tcp_user_timeout": 60_000,
        "client_encoding": "UTF8",
        "application_name": "charter",
    }


def _connect(url: str) -> Session:
    return psycopg.connect(url, **_options())


def _configure(session: Session, schema: str) -> None:
    session.execute(_SESSION.encode())
    # The store's own schema alone: on a path of several, another store's tables would be taken for its own.
    session.execute("SELECT set_config('search_path', quote_ident(%s), false)", [schema])
    adapt(session)


def _schema_of(session: Session, place: str) -> str:
    found = session.execute("SELECT current_schema() AS schema, current_setting('server_encoding') AS encoding")
    row: Any = found.fetchone()
    if row["encoding"] != "UTF8":
        raise InvalidInput(f"store: '{place}' keeps text in {row['encoding']}; allowed: a database in UTF8", "store")
    if row["schema"] is None:
        raise InvalidInput(f"store: '{place}' has no schema on its search_path", "store")
    if len(row["schema"]) > MAX_SCHEMA:
        raise InvalidInput(f"store: schema '{row['schema']}': allowed: names of up to {MAX_SCHEMA} letters", "store")
    return row["schema"]


def _number(*name: str) -> int:
    """64 bits for a name: what advisory locks go by."""
    digest = hashlib.sha256("\0".join(name).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], signed=True)


def _named(error: psycopg.Error, place: str) -> CharterError | psycopg.Error:
    """PostgreSQL's error in Charter's words; one that can only be a mistake in our SQL stays as it is."""
    said = (error.diag.message_primary or str(error)).strip()
    match error:
        case errors.ForeignKeyViolation():
            return NotFound("a row refers to a prompt, sample, comparison or run that is not in the store")
        case psycopg.IntegrityError() | psycopg.DataError():
            allowed = "finite numbers, whole numbers of 64 bits, complete rows, valid JSON"
            return InvalidInput(f"the store refuses this row: {said}; allowed: {allowed}")
        case errors.ProgramLimitExceeded():
            return InvalidInput(f"the store refuses this row: {said}; allowed: ids and names of up to 2,000 bytes")
        case errors.DiskFull():
            return Unavailable(f"no space left for '{place}'; nothing was written")
        case errors.DeadlockDetected() | errors.SerializationFailure() | errors.LockNotAvailable():
            return Interrupted(f"'{place}' is busy: {said}; nothing was written")
        case errors.InsufficientPrivilege() | errors.ReadOnlySqlTransaction() | errors.InvalidSchemaName():
            return Unavailable(f"cannot use '{place}': {said}; nothing was written")
        case psycopg.OperationalError() | psycopg.InterfaceError() | errors.IdleInTransactionSessionTimeout():
            return Interrupted(
                f"cannot use '{place}' now: {said}; what was not committed is not written",
                hint="the same request may be sent again",
            )
    return error
