"""Pairs of samples to be judged, and which of them a labeler should judge next."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rlhf_core.errors import NotFound
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.labelling.pair_order import WAITING, next_pairs
from rlhf_core.store.row_mapping import from_row, insert, now, to_json
from rlhf_core.store.samples import Samples, join_runs

_GIVEN = "SELECT count(*) AS n FROM live_preferences WHERE objective = ? AND labeler = ?"
_LEASE = """
INSERT INTO label_leases (comparison_id, objective, labeler, expires_at)
VALUES (:id, :objective, :labeler, store_time(:seconds))
ON CONFLICT (comparison_id, objective) DO UPDATE SET labeler = excluded.labeler, expires_at = excluded.expires_at
"""


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

    def runs_of(self, comparison_id: str) -> list[str]:
        """Return the runs that have a comparison, in the order in which they came to."""
        rows = self._connections.rows(
            "SELECT run_id FROM members WHERE kind = 'comparison' AND record_id = ? ORDER BY rowid", [comparison_id]
        )
        return [row["run_id"] for row in rows]

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
        of it is labelled, in its own random order, is an unbiased sample. With `uniform` only the slice is asked,
        without pairs of studies, which measure no judge.
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
        question |= {"leased": lease_seconds > 0}
        if not lease_seconds:
            return self._next(question, count)
        with self._connections.write() as connection:
            # Two who ask at the same time must not be given the same.
            self._connections.lock("label leases", objective)
            found = self._next(question, count)
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
            f"SELECT count(*) AS n FROM comparisons AS c WHERE {WAITING}", question | {"slice": UNIFORM_SLICE}
        )
        return rows[0]["n"]

    def _next(self, question: Mapping[str, Any], count: int) -> list[Comparison]:
        given = self._connections.rows(_GIVEN, [question["objective"], question["labeler"]])[0]["n"]
        found = next_pairs(self._connections, question, given, count)
        pairs = self.by_id(found)
        return [pairs[identity] for identity in found]

    def _read(self, rows: Sequence[Row]) -> list[Comparison]:
        samples = self._samples.by_id({row[side] for row in rows for side in ("a_id", "b_id")})
        return [from_row(Comparison, row, a=samples[row["a_id"]], b=samples[row["b_id"]]) for row in rows]
