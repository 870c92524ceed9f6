"""Pairs of samples to be judged, and which of them a labeler should judge next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rlhf_core.errors import NotFound
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.labelling.studies import STILL_ASKED
from rlhf_core.store.row_mapping import from_row, insert, now, to_json
from rlhf_core.store.samples import Samples, join_runs

_WAITING = f"""
(:run_id IS NULL OR EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = c.id))
  AND NOT EXISTS (
    SELECT 1 FROM live_preferences AS mine
    WHERE mine.comparison_id = c.id AND mine.objective = :objective AND mine.labeler = :labeler)
  AND NOT EXISTS (
    SELECT 1 FROM live_adjudications AS d WHERE d.comparison_id = c.id AND d.objective = :objective)
  AND (:uniform = 0 OR c.draw < :slice)
  AND {STILL_ASKED}
"""
_FREE = """
NOT EXISTS (
    SELECT 1 FROM label_leases AS l WHERE l.comparison_id = c.id AND l.objective = :objective
      AND l.labeler <> :labeler AND l.expires_at > store_time(0))
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
LEFT JOIN pair_information AS told ON told.comparison_id = c.id AND told.objective = :objective
WHERE {_WAITING} AND (:leased = 0 OR {_FREE})
ORDER BY CASE WHEN c.draw < :slice THEN 1 ELSE 0 END = :turn DESC, CASE WHEN c.draw < :slice THEN c.draw END,
  coalesce(told.priority, ai.abstained, 0) DESC,
  CASE WHEN ai.abstained = 1 THEN 0 WHEN ai.margin IS NOT NULL THEN 1 ELSE 2 END, ai.margin, c.rowid LIMIT :count
"""
_GIVEN = "SELECT count(*) AS n FROM live_preferences WHERE objective = ? AND labeler = ?"
_LEASE = """
INSERT INTO label_leases (comparison_id, objective, labeler, expires_at)
VALUES (:id, :objective, :labeler, store_time(:seconds))
ON CONFLICT (comparison_id, objective) DO UPDATE SET labeler = excluded.labeler, expires_at = excluded.expires_at
"""
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
        comparisons = self.by_id([comparison_id])
        if not comparisons:
            raise NotFound(f"no comparison '{comparison_id}' in the store")
        return comparisons[comparison_id]

    def by_id(self, comparison_ids: Collection[str]) -> dict[str, Comparison]:
        sql = "SELECT * FROM comparisons WHERE id IN (SELECT value FROM json_each(?))"
        return {found.id: found for found in self._read(self._connections.rows(sql, [to_json(list(comparison_ids))]))}

    def of_run(self, run_id: str) -> list[Comparison]:
        """Return a run's comparisons in the order in which it stored them."""
        rows = self._connections.rows(
            """SELECT c.* FROM comparisons AS c JOIN members AS m ON m.kind = 'comparison' AND m.record_id = c.id
            WHERE m.run_id = ? ORDER BY m.rowid""",
            [run_id],
        )
        return self._read(rows)

    def next(self, labeler: str, objective: str, run_id: str | None = None, uniform: bool = False) -> Comparison | None:
        """Return what this labeler should judge next for the objective; None when all is labelled, skipped or decided.

        First, where reward models have been trained, what a label is expected to tell them most about; of other pairs
        where the AI abstained, then where it is least sure, then what it has not judged. Every fifth question
        comes from the uniform slice, which is never asked in another turn while there is anything else: whatever part
        of it is labelled, in its own random order, is an unbiased sample. With `uniform` only the slice is asked.
        """
        return next(iter(self.upcoming(labeler, objective, run_id, uniform)), None)

    def upcoming(
        self,
        labeler: str,
        objective: str,
        run_id: str | None = None,
        uniform: bool = False,
        count: int = 1,
        lease_seconds: float = 0,
    ) -> list[Comparison]:
        """Return the first so many of what `next` would give, in order.

        With a lease they are this labeler's until it expires or they are labelled: who asks with one gets others.
        """
        question = {"labeler": labeler, "objective": objective, "run_id": run_id, "uniform": uniform}
        asked = question | {"leased": lease_seconds > 0, "count": count, "slice": UNIFORM_SLICE}
        if not lease_seconds:
            return self._ranked(asked)
        with self._connections.write() as connection:
            # Two who ask at the same time must not be given the same.
            self._connections.lock("label leases", objective)
            found = self._ranked(asked)
            connection.execute("DELETE FROM label_leases WHERE expires_at <= store_time(0)")
            lease = {"objective": objective, "labeler": labeler, "seconds": lease_seconds}
            connection.executemany(_LEASE, [lease | {"id": each.id} for each in found])
        return found

    def let_go(self, labeler: str, comparison_id: str, objective: str) -> None:
        """End this labeler's lease, where there is one."""
        sql = "DELETE FROM label_leases WHERE comparison_id = ? AND objective = ? AND labeler = ?"
        with self._connections.write() as connection:
            connection.execute(sql, [comparison_id, objective, labeler])

    def waiting(self, labeler: str, objective: str, run_id: str | None = None, uniform: bool = False) -> int:
        """Count the comparisons that this labeler has neither judged nor skipped for the objective."""
        question = {"labeler": labeler, "objective": objective, "run_id": run_id, "uniform": uniform}
        rows = self._connections.rows(
            f"SELECT count(*) AS n FROM comparisons AS c WHERE {_WAITING}", question | {"slice": UNIFORM_SLICE}
        )
        return rows[0]["n"]

    def _ranked(self, asked: Mapping[str, Any]) -> list[Comparison]:
        """The first of those that wait: every fifth from the ranking that begins with the uniform slice."""
        given = self._connections.rows(_GIVEN, [asked["objective"], asked["labeler"]])[0]["n"]
        places = range(given, given + asked["count"])
        turns = [asked["uniform"] or place % TURNS == TURNS - 1 for place in places]
        rankings = {turn: self._connections.rows(_NEXT, {**asked, "turn": turn}) for turn in set(turns)}
        found: list[str] = []
        for turn in turns:
            found += [row["id"] for row in rankings[turn] if row["id"] not in found][:1]
        return [self.get(identity) for identity in found]

    def _read(self, rows: Sequence[Row]) -> list[Comparison]:
        samples = self._samples.by_id({row[side] for row in rows for side in ("a_id", "b_id")})
        return [from_row(Comparison, row, a=samples[row["a_id"]], b=samples[row["b_id"]]) for row in rows]
