"""Which processes carry out this store's runs: who holds a lease, and whether that process can still be alive."""

from __future__ import annotations

import hashlib
import os
import socket
from functools import cache
from pathlib import Path

from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import insert, now

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
        """Sign an owner in; it should be `this_process()`, so that one that was killed is not taken for alive.

        Those that are gone without a word are struck off.
        """
        with self._connections.write() as connection:
            gone = [row["owner"] for row in connection.execute("SELECT owner FROM workers") if is_dead(row["owner"])]
            connection.executemany("DELETE FROM workers WHERE owner = :owner", [{"owner": owner} for owner in gone])
            insert(connection, "workers", [{"owner": owner, "created_at": now()}], key="owner")

    def sign_out(self, owner: str) -> None:
        with self._connections.write() as connection:
            connection.execute("DELETE FROM workers WHERE owner = ?", [owner])

    def signed_in(self) -> list[str]:
        """Return the owners that have not signed out and are not provably gone, oldest first."""
        rows = self._connections.rows("SELECT owner FROM workers ORDER BY created_at")
        return [row["owner"] for row in rows if not is_dead(row["owner"])]
