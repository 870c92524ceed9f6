"""Which artifacts nothing refers to any more, and how they are removed."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from rlhf_core.store.artifacts.folders import ArtifactFolders
from rlhf_core.store.connection import Connections

IDLE_SECONDS = 3600.0
"""Younger artifacts stay: the row that will name one may not be written yet."""


class Collected(NamedTuple):
    """Artifacts that nothing refers to, with their bytes."""

    digests: tuple[str, ...]
    size: int


class Garbage:
    """Artifacts that nothing refers to."""

    def __init__(self, connections: Connections, artifacts: ArtifactFolders):
        self._connections = connections
        self._artifacts = artifacts

    def orphans(self, but: Collection[str] = ()) -> Collected:
        """Find the artifacts that no row names, less those given.

        Their run was deleted, or their process died early.
        """
        spared = {*self._named(), *but}
        lost = {digest: size for digest, size in self._artifacts.stored().items() if digest not in spared}
        return Collected(tuple(sorted(lost)), sum(lost.values()))

    def collect(self, idle_seconds: float = IDLE_SECONDS) -> Collected:
        """Remove the orphans that have not been touched for so long; safe beside processes that write."""
        sizes, orphans = self._artifacts.stored(), self.orphans().digests
        removed = [digest for digest in orphans if self._artifacts.remove(digest, idle_seconds)]
        return Collected(tuple(removed), sum(sizes.get(digest, 0) for digest in removed))

    def _named(self) -> set[str]:
        """By any table that has a column for one."""
        tables = self._connections.tables_with("artifact")
        named = (self._connections.rows(f'SELECT DISTINCT artifact FROM "{table}"') for table in tables)
        return {row["artifact"] for rows in named for row in rows}
