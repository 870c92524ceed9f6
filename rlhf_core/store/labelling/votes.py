"""What judges said of comparisons, one principle at a time."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rlhf_core.records.feedback import Vote
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, stamped
from rlhf_core.store.samples import join_runs


class Votes:
    """Votes on stored comparisons: each is stored once, whichever runs count it."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, votes: Iterable[Vote]) -> None:
        """Store votes on stored comparisons; one whose id is known joins its run and changes nothing else."""
        votes = list(votes)
        with self._connections.write() as connection:
            insert(connection, "votes", stamped(votes))
            join_runs(connection, "vote", votes)

    def find(self, comparison_ids: Iterable[str] | None = None, run_id: str | None = None) -> list[Vote]:
        """Find votes on these comparisons, or of this run, or both; in the order in which they were cast."""
        rows = self._connections.rows(
            """SELECT v.* FROM votes AS v
            WHERE (:ids IS NULL OR v.comparison_id IN (SELECT value FROM json_each(:ids))) AND (:run_id IS NULL OR
              v.id IN (SELECT record_id FROM members WHERE run_id = :run_id AND kind = 'vote')) ORDER BY v.rowid""",
            {"ids": None if comparison_ids is None else json.dumps(list(comparison_ids)), "run_id": run_id},
        )
        return [from_row(Vote, row) for row in rows]

    def by_id(self, ids: Iterable[str]) -> dict[str, Vote]:
        """Return the votes with these ids, whichever run cast them; an unknown id is left out."""
        rows = self._connections.rows(
            "SELECT * FROM votes WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))]
        )
        return {row["id"]: from_row(Vote, row) for row in rows}

    def counts(self) -> dict[str, int]:
        """Count votes by principle hash, of all runs."""
        rows = self._connections.rows("SELECT principle_hash, count(*) AS n FROM votes GROUP BY principle_hash")
        return {row["principle_hash"]: row["n"] for row in rows}

    def count_comparisons(self, principle_hashes: Iterable[str]) -> int:
        """Count the comparisons that have a vote under any of these principles."""
        rows = self._connections.rows(
            """SELECT count(DISTINCT comparison_id) AS n FROM votes
            WHERE principle_hash IN (SELECT value FROM json_each(?))""",
            [json.dumps(list(principle_hashes))],
        )
        return rows[0]["n"]
