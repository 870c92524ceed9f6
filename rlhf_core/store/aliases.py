"""Aliases of policy versions: who holds each one, by a history that only grows."""

from __future__ import annotations

from rlhf_core.errors import Conflict
from rlhf_core.records.models import AliasChange
from rlhf_core.records.samples import BASE_POLICY
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now

_ALL = 2**62
_LIVE = "SELECT * FROM alias_changes WHERE number IN (SELECT max(number) FROM alias_changes GROUP BY alias)"


class Aliases:
    """Holders by alias. What may hold one is for the caller to say."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def holder(self, alias: str) -> str:
        """Return the version that holds the alias; empty where nobody does."""
        return self.holders().get(alias, "")

    def holders(self) -> dict[str, str]:
        """Return the version that holds each alias, in the order of the aliases, of those that somebody holds."""
        rows = self._connections.rows(f"{_LIVE} AND version <> '' ORDER BY alias")
        return {row["alias"]: row["version"] for row in rows}

    def promote(self, alias: str, version: str, changed_by: str, reason: str, overridden: str) -> AliasChange:
        """Give the alias to a version; one that holds it already keeps it, and the change that gave it is returned."""
        with self._connections.write(durable=True):
            self._connections.lock("alias", alias)
            previous = self.holder(alias)
            if previous == version:
                return self.history(alias, 1)[0]
            return self._change(alias, version, previous, "promote", changed_by, reason, overridden)

    def roll_back(self, alias: str, changed_by: str, reason: str) -> AliasChange:
        """Give the alias back to who held it before, or to nobody where nobody did.

        Each promotion is taken back once: two in a row go two holders back. Holders that are not in the store any more
        are passed over.

        Raises:
            Conflict: nobody holds the alias.
        """
        with self._connections.write(durable=True):
            self._connections.lock("alias", alias)
            holders = self.line(alias)
            if not holders:
                raise Conflict(f"nothing holds '{alias}', so there is nothing to roll back")
            return self._change(
                alias, holders[1] if holders[1:] else "", holders[0], "rollback", changed_by, reason, ""
            )

    def line(self, alias: str) -> list[str]:
        """Return the holder, then those that rollbacks would return to, one after the other.

        Versions that are not in the store are left out.
        """
        holders: list[str] = []
        for change in reversed(self.history(alias, None)):
            if change.kind == "promote":
                holders.append(change.version)
                continue
            while holders and holders[-1] != change.version:
                holders.pop()
        rows = self._connections.rows("SELECT id FROM policy_versions")
        stored = {BASE_POLICY, *(row["id"] for row in rows)}
        return [version for version in reversed(holders) if version in stored]

    def needed(self) -> dict[str, list[str]]:
        """Return the versions that hold an alias, or that one rollback would give one, each with those aliases."""
        found: dict[str, list[str]] = {}
        for alias in self.holders():
            for version in self.line(alias)[:2]:
                found.setdefault(version, []).append(alias)
        return found

    def history(self, alias: str = "", size: int | None = 100, before: int = 0) -> list[AliasChange]:
        """Return the changes of one alias, or of all, newest first; only those before a number, if one is given."""
        rows = self._connections.rows(
            """SELECT * FROM alias_changes WHERE (:alias = '' OR alias = :alias)
              AND (:before = 0 OR number < :before) ORDER BY number DESC LIMIT :size""",
            {"alias": alias, "before": before, "size": _ALL if size is None else size},
        )
        return [from_row(AliasChange, row) for row in rows]

    def _change(
        self, alias: str, version: str, previous: str, kind: str, changed_by: str, reason: str, overridden: str
    ) -> AliasChange:
        row = {
            "alias": alias,
            "version": version,
            "previous": previous,
            "kind": kind,
            "changed_by": changed_by,
            "reason": reason,
            "overridden": overridden,
            "created_at": now(),
        }
        with self._connections.write() as connection:
            insert(connection, "alias_changes", [row], key="number")
        return self.history(alias, 1)[0]
