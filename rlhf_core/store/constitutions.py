"""The constitutions behind what was trained: texts as they were written, by the hash of what they mean."""

from __future__ import annotations

from rlhf_core.errors import NotFound
from rlhf_core.records.models import ConstitutionFile
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import bytes_hash, from_row, insert, now


class Constitutions:
    """Every text of every constitution that a run was given."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, constitution_hash: str, constitution_id: str, text: str, source: str) -> None:
        """Keep a constitution's text as it was written, under the hash that all its results carry.

        Every text of one meaning is kept; `text` gives the first.
        """
        shared = {"text": text, "source": source, "created_at": now()}
        meaning = {"hash": constitution_hash, "constitution_id": constitution_id} | shared
        file = {"id": bytes_hash(text), "constitution_hash": constitution_hash} | shared
        with self._connections.write() as connection:
            insert(connection, "constitutions", [meaning], key="hash")
            insert(connection, "constitution_files", [file], key="constitution_hash, id")

    def text(self, constitution_hash: str) -> str:
        """Return the first text that came of this constitution. Raises NotFound."""
        rows = self._connections.rows("SELECT text FROM constitutions WHERE hash = ?", [constitution_hash])
        if not rows:
            raise NotFound(f"no constitution '{constitution_hash}' in the store")
        return rows[0]["text"]

    def files(self, constitution_hash: str) -> list[ConstitutionFile]:
        """Return the texts that mean this constitution, in the order in which they came."""
        sql = "SELECT id, constitution_hash, source, text FROM constitution_files WHERE constitution_hash = ?"
        rows = self._connections.rows(f"{sql} ORDER BY rowid", [constitution_hash])
        return [from_row(ConstitutionFile, row) for row in rows]
