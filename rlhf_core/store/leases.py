"""Who holds a lease, and whether that process can still be alive."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rlhf_core.store.rows import utc_text

_PROC = Path("/proc")


def this_process() -> str:
    """This process as `host:pid:start`.

    `host` carries the PID namespace, since two containers may share a host name and count their processes apart;
    `start` is the process' start time in clock ticks since boot, since process ids are used again.
    """
    return f"{_host()}:{os.getpid()}:{_start_time(os.getpid())}"


def is_dead(owner: str) -> bool:
    """Whether the owner is provably gone: it was a process of this host, and no such process runs now.

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


def expiry(lease_seconds: float) -> str:
    return utc_text(datetime.now(UTC) + timedelta(seconds=lease_seconds))


def _host() -> str:
    namespace = _PROC / "self/ns/pid"
    inode = namespace.stat().st_ino if namespace.exists() else 0
    return f"{socket.gethostname()}.{inode}"


def _start_time(pid: int) -> str:
    """Field 22 of /proc/<pid>/stat; nothing on systems without it; `dead` for a process that only awaits its parent."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text()
    except OSError:
        return ""
    # The second field is the program's name, which may itself hold spaces and brackets.
    fields = stat.rpartition(")")[2].split()
    return "dead" if fields[0] in "ZX" else fields[19]
