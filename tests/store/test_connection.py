import gc
import os
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rlhf_core.errors import Unavailable
from rlhf_core.store.databases.sqlite import SqliteConnections as Connections


@pytest.fixture
def connections(tmp_path: Path):
    opened = Connections(tmp_path / "db", tmp_path / "lock")
    with opened.write() as connection:
        connection.execute("CREATE TABLE counter (value INTEGER NOT NULL) STRICT")
        connection.execute("INSERT INTO counter VALUES (0)")
    yield opened
    opened.close()


def value(connections: Connections) -> int:
    return connections.rows("SELECT value FROM counter")[0][0]


def test_nothing_can_be_written_outside_the_write_door(connections: Connections):
    with pytest.raises(Unavailable, match="readonly"):
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
            connection.execute("UPDATE counter SET value = ?", [value(connections) + 1])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(200)))
    assert value(connections) == 200


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_durable_transaction_waits_for_the_disk(connections: Connections, durable: bool, level: int):
    with connections.write(durable=durable) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == level


def test_the_pragmas_hold_on_each_connection(connections: Connections):
    pragmas = ("journal_mode", "foreign_keys", "query_only", "busy_timeout")
    assert [connections.rows(f"PRAGMA {name}")[0][0] for name in pragmas] == ["wal", 1, 1, 30000]


def test_a_finished_thread_leaves_no_connection_behind(connections: Connections):
    for _ in range(6):
        thread = threading.Thread(target=value, args=(connections,))
        thread.start()
        thread.join()
        gc.collect()
    descriptors = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if _is_open(fd)]
    assert sum(name.endswith("/db") for name in descriptors) <= 3


def _is_open(descriptor: str) -> bool:
    return os.path.islink(f"/proc/self/fd/{descriptor}")


def test_a_closed_store_and_a_damaged_one_say_so(tmp_path: Path):
    connections = Connections(tmp_path / "db", tmp_path / "lock")
    connections.close()
    connections.close()
    with pytest.raises(Unavailable, match="closed"):
        connections.rows("SELECT 1")
    with pytest.raises(Unavailable, match="closed"), connections.write():
        pass
    (tmp_path / "text").write_text("not a database at all\n" * 100)
    with pytest.raises(Unavailable, match="not a Charter store"):
        Connections(tmp_path / "text", tmp_path / "lock")


def test_a_mistake_in_sql_is_not_dressed_up(connections: Connections):
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
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
