"""Pairs of samples to be judged, and which of them a labeler should judge next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rlhf_core.errors import NotFound
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.row_mapping import from_row, insert, now
from rlhf_core.store.samples import Samples, join_runs

_WAITING = """
(:run_id IS NULL OR EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = c.id))
  AND NOT EXISTS (
    SELECT 1 FROM live_preferences AS mine
    WHERE mine.comparison_id = c.id AND mine.objective = :objective AND mine.labeler = :labeler)
  AND (:uniform = 0 OR c.draw < :slice)
"""
_NEXT = f"""
SELECT c.id FROM comparisons AS c
LEFT JOIN (
  SELECT comparison_id, max(CASE WHEN abstained = 1 AND reason <> 'no_principle' THEN 1 ELSE 0 END) AS abstained,
    min(abs(probability - 0.5)) AS margin
  FROM live_preferences
  WHERE objective = :objective AND substr(labeler, 1, 3) = 'ai:' AND (:run_id IS NULL OR run_id = :run_id)
  GROUP BY comparison_id
) AS ai ON ai.comparison_id = c.id
WHERE {_WAITING}
ORDER BY CASE WHEN c.draw < :slice THEN 1 ELSE 0 END = :turn DESC, CASE WHEN c.draw < :slice THEN c.draw END,
  CASE WHEN ai.abstained = 1 THEN 0 WHEN ai.margin IS NOT NULL THEN 1 ELSE 2 END, ai.margin, c.rowid LIMIT 1
"""
_GIVEN = "SELECT count(*) AS n FROM live_preferences WHERE objective = ? AND labeler = ?"
TURNS = round(1 / UNIFORM_SLICE)
"""One question of so many comes from the uniform slice."""


class Comparisons:
    """Two samples each, of which one may be better."""

    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def add(self, comparisons: Iterable[Comparison]) -> None:
        """Store comparisons, their samples and prompts."""
        comparisons, time = list(comparisons), now()
        rows = [
            {"id": c.id, "a_id": c.a.id, "b_id": c.b.id, "run_id": c.run_id, "created_at": time}
            | {"draw": uniform_draw(c.id)}
            for c in comparisons
        ]
        with self._connections.write() as connection:
            self._samples.add(sample for c in comparisons for sample in (c.a, c.b))
            insert(connection, "comparisons", rows)
            join_runs(connection, "comparison", comparisons)

    def get(self, comparison_id: str) -> Comparison:
        comparisons = self._read(self._connections.rows("SELECT * FROM comparisons WHERE id = ?", [comparison_id]))
        if not comparisons:
            raise NotFound(f"no comparison '{comparison_id}' in the store")
        return comparisons[0]

    def of_run(self, run_id: str) -> list[Comparison]:
        """A run's comparisons in the order in which it stored them."""
        rows = self._connections.rows(
            """SELECT c.* FROM comparisons AS c JOIN members AS m ON m.kind = 'comparison' AND m.record_id = c.id
            WHERE m.run_id = ? ORDER BY m.rowid""",
            [run_id],
        )
        return self._read(rows)

    def next(self, labeler: str, objective: str, run_id: str | None = None, uniform: bool = False) -> Comparison | None:
        """What this labeler should judge next for the objective; None when all is labelled or skipped.

        First where the AI abstained, then where it is least sure, then what it has not judged. Every fifth question
        comes from the uniform slice, which is never asked in another turn while there is anything else: whatever part
        of it is labelled, in its own random order, is an unbiased sample. With `uniform` only the slice is asked.
        """
        given = self._connections.rows(_GIVEN, [objective, labeler])[0]["n"]
        question = {"labeler": labeler, "objective": objective, "run_id": run_id, "uniform": uniform}
        turn = uniform or given % TURNS == TURNS - 1
        rows = self._connections.rows(_NEXT, question | {"turn": turn, "slice": UNIFORM_SLICE})
        return self.get(rows[0]["id"]) if rows else None

    def waiting(self, labeler: str, objective: str, run_id: str | None = None, uniform: bool = False) -> int:
        """How many comparisons this labeler has neither judged nor skipped for the objective."""
        question = {"labeler": labeler, "objective": objective, "run_id": run_id, "uniform": uniform}
        rows = self._connections.rows(
            f"SELECT count(*) AS n FROM comparisons AS c WHERE {_WAITING}", question | {"slice": UNIFORM_SLICE}
        )
        return rows[0]["n"]

    def _read(self, rows: Sequence[Row]) -> list[Comparison]:
        samples = self._samples.by_id({row[side] for row in rows for side in ("a_id", "b_id")})
        return [from_row(Comparison, row, a=samples[row["a_id"]], b=samples[row["b_id"]]) for row in rows]
