"""Which processes carry out this store's runs: who holds a lease, and whether that process can still be alive."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path

from rlhf_core.store.connection import Connections, Row

HEARD_SECONDS = 60.0
"""A worker of another host that has said nothing for so long is taken for gone."""
_PROC = Path("/proc")
_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def this_process() -> str:
    """Name this process as `host:pid:start`.

    `host` carries the PID namespace, since two containers may share a host name and count their processes apart, and
    the machine's id, since two machines may share both;
    `start` is the process' start time in clock ticks since boot, since process ids are used again.
    """
    return f"{_host()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Tell whether the owner is provably gone: it was a process of this host, and no such process runs now.

    An owner of another host, or one that is not of `this_process`'s form, is never provably gone.
    """
    parts = owner.split(":")
    if len(parts) < 3 or parts[0] != _host() or not parts[1].isdigit():
        return False
    try:
        os.kill(int(parts[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        pass
    return _start_time(int(parts[1])) != parts[2]


@cache
def _host() -> str:
    namespace = _PROC / "self/ns/pid"
    inode = namespace.stat().st_ino if namespace.exists() else 0
    # What a system was given when it was installed; images of containers often leave it out, or empty.
    known = next(filter(None, (file.read_bytes().strip() for file in (_MACHINE_ID, _BOOT_ID) if file.is_file())), b"")
    machine = hashlib.sha256(known).hexdigest()[:8] if known else ""
    return f"{socket.gethostname()}.{inode}.{machine}"


def _start_time(pid: int) -> str:
    """Field 22 of /proc/<pid>/stat; nothing on systems without it; `dead` for a process that only awaits its parent."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    # The second field is the program's name, which may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return "dead" if fields[0] in "ZX" else fields[19]


class Workers:
    """Workers, from when they begin to look for runs until they stop."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def sign_in(self, owner: str) -> None:
        """Say that a worker is there: once, and again more often than every `HEARD_SECONDS`.

        `owner` should be `this_process()`, so that one that was killed is not taken for alive. Those that are gone
        without a word are struck off.
        """
        with self._connections.write() as connection:
            gone = [row["owner"] for row in self._rows() if not _is_there(row)]
            connection.executemany("DELETE FROM workers WHERE owner = :owner", [{"owner": owner} for owner in gone])
            connection.execute(
                """INSERT INTO workers (owner, created_at, seen_at) VALUES (:owner, store_time(0), store_time(0))
                ON CONFLICT (owner) DO UPDATE SET seen_at = excluded.seen_at""",
                {"owner": owner},
            )

    def sign_out(self, owner: str) -> None:
        with self._connections.write() as connection:
            connection.execute("DELETE FROM workers WHERE owner = ?", [owner])

    def signed_in(self) -> list[str]:
        """Return the workers that have not signed out and are not gone, oldest first."""
        return [row["owner"] for row in self._rows() if _is_there(row)]

    def _rows(self) -> list[Row]:
        sql = "SELECT owner, seen_at > store_time(?) AS heard FROM workers ORDER BY created_at"
        return self._connections.rows(sql, [-HEARD_SECONDS])


def _is_there(row: Row) -> bool:
    """A process of this host can be looked at; from others nothing but their word is known."""
    if row["owner"].split(":")[0] == _host():
        return not is_dead(row["owner"])
    return bool(row["heard"])
