"""Which processes carry out this store's runs."""

from __future__ import annotations

from rlhf_core.store.connection import Connections
from rlhf_core.store.leases import is_dead
from rlhf_core.store.rows import insert, now


class Workers:
    """Workers, from when they begin to look for runs until they stop."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def sign_in(self, owner: str) -> None:
        """`owner` should be `leases.this_process()`, so that one that was killed is not taken for alive.

        Those that are gone without a word are struck off.
        """
        with self._connections.write() as connection:
            gone = [row["owner"] for row in connection.execute("SELECT owner FROM workers") if is_dead(row["owner"])]
            connection.executemany("DELETE FROM workers WHERE owner = ?", [(owner,) for owner in gone])
            insert(connection, "workers", [{"owner": owner, "created_at": now()}], key="owner")

    def sign_out(self, owner: str) -> None:
        with self._connections.write() as connection:
            connection.execute("DELETE FROM workers WHERE owner = ?", [owner])

    def workers(self) -> list[str]:
        """Those that are not provably gone, oldest first."""
        rows = self._connections.rows("SELECT owner FROM workers ORDER BY created_at")
        return [row["owner"] for row in rows if not is_dead(row["owner"])]
