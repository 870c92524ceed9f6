"""Which SQLite this Python is built with, and whether it has the WAL-reset bug."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple


class Engine(NamedTuple):
    version: str
    resets_safely: bool
    """False where two connections that write while one resets the log can corrupt a WAL database."""


def engine() -> Engine:
    """The engine of this process."""
    return Engine(sqlite3.sqlite_version, resets_safely(sqlite3.sqlite_version_info))


def resets_safely(version: tuple[int, ...]) -> bool:
    """Fixed in SQLite 3.51.3, and in 3.50.7 and 3.44.6 of the older branches (https://sqlite.org/wal.html)."""
    return version >= (3, 51, 3) or (3, 50, 7) <= version < (3, 51) or (3, 44, 6) <= version < (3, 45)
