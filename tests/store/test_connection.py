import gc
import os
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from rlhf_core.errors import Unavailable
from rlhf_core.store.connection import Connections
from rlhf_core.store.databases.place import connect, place_of
from rlhf_core.store.databases.sqlite import SqliteConnections


def with_counter(opened: Connections) -> Connections:
    with opened.write() as connection:
        connection.execute("CREATE TABLE counter (value INTEGER NOT NULL)")
        connection.execute("INSERT INTO counter VALUES (0)")
    return opened


@pytest.fixture
def connections(folder: Path) -> Iterator[Connections]:
    """Of each database."""
    with closing(with_counter(connect(folder, place_of(folder).database))) as opened:
        yield opened


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Connections]:
    with closing(with_counter(SqliteConnections(tmp_path / "db", tmp_path / "lock"))) as opened:
        yield opened


def value(connections: Connections) -> int:
    return connections.rows("SELECT value FROM counter")[0]["value"]


def test_a_query_outside_a_transaction_cannot_write(connections: Connections):
    with pytest.raises(Unavailable, match=r"read-?only"):
        connections.rows("UPDATE counter SET value = 7")
    assert value(connections) == 0


def test_a_failed_block_takes_all_of_it_back(connections: Connections):
    with pytest.raises(KeyError), connections.write() as connection:
        connection.execute("UPDATE counter SET value = 1")
        with connections.write() as inner:
            inner.execute("UPDATE counter SET value = 2")
        assert value(connections) == 2
        raise KeyError
    assert value(connections) == 0


def test_an_inner_block_that_fails_takes_back_only_itself(connections: Connections):
    with connections.write() as connection:
        connection.execute("UPDATE counter SET value = 1")
        with pytest.raises(KeyError), connections.write() as inner:
            inner.execute("UPDATE counter SET value = 2")
            raise KeyError
    assert value(connections) == 1


def test_other_threads_see_a_transaction_only_when_it_is_whole(connections: Connections):
    with ThreadPoolExecutor(1) as pool, connections.write(durable=True) as connection:
        connection.execute("UPDATE counter SET value = 5")
        assert value(connections) == 5
        assert pool.submit(value, connections).result() == 0


def test_threads_that_read_and_then_write_lose_no_update(connections: Connections):
    def add_one(_: int) -> None:
        with connections.write() as connection:
            connections.lock("counter")
            connection.execute("UPDATE counter SET value = ?", [value(connections) + 1])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(200)))
    assert value(connections) == 200


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_durable_transaction_waits_for_the_disk(sqlite: Connections, durable: bool, level: int):
    with sqlite.write(durable=durable):
        assert sqlite.rows("PRAGMA synchronous")[0]["synchronous"] == level


def test_the_pragmas_hold_on_each_connection(sqlite: Connections):
    pragmas = {"journal_mode": "wal", "foreign_keys": 1, "query_only": 1, "busy_timeout": 30000}
    names = {"busy_timeout": "timeout"}
    assert {name: sqlite.rows(f"PRAGMA {name}")[0][names.get(name, name)] for name in pragmas} == pragmas


@pytest.mark.slow
def test_a_finished_thread_leaves_no_connection_behind(sqlite: Connections):
    for _ in range(6):
        thread = threading.Thread(target=value, args=(sqlite,))
        thread.start()
        thread.join()
        gc.collect()
    descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert sum(name.endswith("/db") for name in descriptors) <= 3


def _is_open(descriptor: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{descriptor}")


def test_a_closed_store_says_so(folder: Path):
    connections = connect(folder, place_of(folder).database)
    connections.close()
    connections.close()
    with pytest.raises(Unavailable, match="closed"):
        connections.rows("SELECT 1")
    with pytest.raises(Unavailable, match="closed"), connections.write():
        pass


def test_a_damaged_file_says_so(tmp_path: Path):
    (tmp_path / "text").write_text("not a database at all\n" * 100)
    with pytest.raises(Unavailable, match="not a Charter store"):
        SqliteConnections(tmp_path / "text", tmp_path / "lock")


def test_a_mistake_in_sql_is_not_dressed_up(connections: Connections):
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.UndefinedTable), match="missing"):
        connections.rows("SELECT * FROM missing")


def test_a_forked_child_may_not_use_its_parent_s_connections(connections: Connections):
    child = os.fork()
    if child == 0:
        refused = 0
        for use in (lambda: value(connections), lambda: connections.write().__enter__()):
            try:
                use()
            except Unavailable:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
