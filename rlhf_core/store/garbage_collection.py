"""Which artifacts nothing refers to any more, and how they are removed."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from rlhf_core.errors import Conflict, InvalidInput
from rlhf_core.store.artifacts.folders import ArtifactFolders
from rlhf_core.store.connection import Connections
from rlhf_core.store.identity import identity_of

IDLE_SECONDS = 3600.0
"""Younger artifacts stay: the row that will name one may not be written yet."""

DRAFT_SECONDS = 3600.0
"""What is still being copied after so long belongs to a process that is gone."""


class Collected(NamedTuple):
    """Artifacts that nothing refers to, with their bytes."""

    digests: tuple[str, ...]
    size: int


class Garbage:
    """Artifacts that nothing refers to."""

    def __init__(self, connections: Connections, artifacts: ArtifactFolders):
        self._connections = connections
        self._artifacts = artifacts

    def claim(self) -> None:
        """Mark the artifacts as those of this store."""
        self._artifacts.claim(identity_of(self._connections))

    def leave(self) -> None:
        """Take the mark of this store away, whose rows are used no more."""
        self._artifacts.disown(identity_of(self._connections))

    def disown(self, store: str) -> None:
        """Take away the mark of another store, which is gone for good.

        Raises:
            InvalidInput: no other store has marked the artifacts by that name.
        """
        if store not in self._others():
            allowed = ", ".join(sorted(self._others())) or "none, as no other store has marked the artifacts"
            raise InvalidInput(f"'{store}' is no other store of these artifacts; allowed: {allowed}", "forget_store")
        self._artifacts.disown(store)

    def orphans(self) -> Collected:
        """Find the artifacts that no row names.

        Their run was deleted, or their process died early.
        """
        sizes, named = self._artifacts.stored(), self.named()
        lost = sorted(digest for digest in sizes if digest not in named)
        return Collected(tuple(lost), sum(sizes[digest] for digest in lost))

    def sizes(self) -> dict[str, int]:
        """Return the bytes of each artifact, by digest. An object store may take its time: not within a transaction."""
        return self._artifacts.stored()

    def collect(self, idle_seconds: float = IDLE_SECONDS) -> Collected:
        """Remove the orphans that have not been touched for so long; safe beside processes that write.

        Raises:
            Conflict: another store has claimed the artifacts too, or this one names none of those that are there.
        """
        self.claim()
        if others := sorted(self._others()):
            raise Conflict(
                f"the artifacts are also those of store {', '.join(others)}, whose rows may name what this one's do "
                "not; nothing was removed",
                hint="give each store artifacts of its own; of one that is gone for good: charter gc --forget-store ID",
            )
        sizes, named = self._artifacts.stored(), self.named()
        if sizes and not named & sizes.keys() and (named or not self._connections.rows("SELECT 1 FROM runs LIMIT 1")):
            raise Conflict(
                f"no row of this store names any of the {len(sizes)} artifacts that are there, so they are another "
                "store's; nothing was removed",
                hint="give each store artifacts of its own; charter store copy brings the rows of the other one",
            )
        self._artifacts.drop_drafts(max(idle_seconds, DRAFT_SECONDS))
        lost = [digest for digest in sorted(sizes) if digest not in named]
        removed = {digest: sizes[digest] for digest in lost if self._artifacts.remove(digest, idle_seconds)}
        return Collected(tuple(removed), sum(removed.values()))

    def drop(self, digests: Collection[str], idle_seconds: float) -> None:
        """Remove those of these artifacts that no row names any more and that nobody has put again since."""
        for digest in set(digests) - self.named():
            self._artifacts.remove(digest, idle_seconds)

    def _others(self) -> set[str]:
        return self._artifacts.owners() - {identity_of(self._connections)}

    def named(self) -> set[str]:
        """Return the digests that a row of any table names."""
        tables = self._connections.tables_with("artifact")
        named = (self._connections.rows(f'SELECT DISTINCT artifact FROM "{table}"') for table in tables)
        return {row["artifact"] for rows in named for row in rows}
