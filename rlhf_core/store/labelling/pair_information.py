"""What a label of each pair is expected to tell: the order in which people are asked."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_core.records.queue import PairInformation
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, now, to_row

TABLES = """
CREATE TABLE pair_information (
  comparison_id TEXT NOT NULL REFERENCES comparisons (id), objective TEXT NOT NULL, run_id TEXT NOT NULL,
  information REAL NOT NULL, spread REAL NOT NULL, abstained INTEGER NOT NULL, disagreement REAL NOT NULL,
  coverage REAL NOT NULL, priority REAL NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (comparison_id, objective)) STRICT, WITHOUT ROWID;
"""
"""As a step of the schema made them: never edited, as all steps."""
_PUT = """
INSERT INTO pair_information (comparison_id, objective, run_id, information, spread, abstained, disagreement, coverage,
  priority, created_at)
VALUES (:comparison_id, :objective, :run_id, :information, :spread, :abstained, :disagreement, :coverage, :priority,
  :created_at)
ON CONFLICT (comparison_id, objective) DO UPDATE SET run_id = excluded.run_id, information = excluded.information,
  spread = excluded.spread, abstained = excluded.abstained, disagreement = excluded.disagreement,
  coverage = excluded.coverage, priority = excluded.priority, created_at = excluded.created_at
"""


class PairsInformation:
    """One row for each pair and objective: what the newest reward models make of it."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def put(self, found: Iterable[PairInformation]) -> None:
        """Store what is expected of pairs in the store; what was expected of them before is replaced."""
        time = now()
        with self._connections.write() as connection:
            connection.executemany(_PUT, [{**to_row(one), "created_at": time} for one in found])

    def find(self, objective: str, run_id: str | None = None, count: int = 1000) -> list[PairInformation]:
        """Find the first so many of an objective's pairs, or of one run's, what tells most first."""
        rows = self._connections.rows(
            """SELECT i.* FROM pair_information AS i WHERE i.objective = :objective
              AND (:run_id IS NULL OR EXISTS (SELECT 1 FROM members AS m
                WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = i.comparison_id))
            ORDER BY i.priority DESC, i.comparison_id LIMIT :count""",
            {"objective": objective, "run_id": run_id, "count": count},
        )
        return [from_row(PairInformation, row) for row in rows]
