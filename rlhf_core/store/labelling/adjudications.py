"""What reviewers decided on comparisons, by a history that only grows."""

from __future__ import annotations

from rlhf_core.errors import Conflict, NotFound
from rlhf_core.records.annotation import Adjudication
from rlhf_core.store.connection import Connections
from rlhf_core.store.labelling.comparisons import Comparisons
from rlhf_core.store.labelling.studies import Studies
from rlhf_core.store.row_mapping import from_row, insert, now, to_row


class Adjudications:
    """Decisions, of which the latest on a comparison and an objective holds, unless it was withdrawn."""

    def __init__(self, connections: Connections, comparisons: Comparisons, studies: Studies):
        self._connections = connections
        self._comparisons = comparisons
        self._studies = studies

    def add(self, decided: Adjudication) -> Adjudication:
        """Store a decision and return it, with its number and time.

        Raises:
            NotFound: the comparison is not in the store.
            Conflict: it is of a study, whose pairs people alone decide on.
        """
        self._comparisons.get(decided.comparison_id)
        if self._studies.among([decided.comparison_id]):
            raise Conflict(f"comparison '{decided.comparison_id}' is of a study, on whose pairs nobody decides")
        return self._add(decided, withdrawn=False)

    def withdraw(self, comparison_id: str, objective: str, withdrawn_by: str) -> Adjudication:
        """Take a decision back, and return it; people are asked again. Raises NotFound where none holds."""
        with self._connections.write(durable=True):
            self._connections.lock("adjudications")
            held = [each for each in self.find(objective) if each.comparison_id == comparison_id]
            if not held:
                raise NotFound(f"nothing is adjudicated on comparison '{comparison_id}' for '{objective}'")
            self._add(held[0].model_copy(update={"adjudicated_by": withdrawn_by}), withdrawn=True)
            return held[0]

    def find(self, objective: str | None = None, run_id: str | None = None) -> list[Adjudication]:
        """Find the decisions that hold, in the order in which they were made; of a run those on its comparisons."""
        rows = self._connections.rows(
            """SELECT * FROM live_adjudications WHERE (:objective IS NULL OR objective = :objective)
              AND (:run_id IS NULL OR EXISTS (SELECT 1 FROM members AS m
                WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = comparison_id))
            ORDER BY number""",
            {"objective": objective, "run_id": run_id},
        )
        return [from_row(Adjudication, row) for row in rows]

    def first_at(self, objective: str) -> dict[str, str]:
        """Return when each comparison was first decided on, whatever became of that."""
        rows = self._connections.rows(
            """SELECT comparison_id, min(created_at) AS first FROM adjudications WHERE objective = ?
            GROUP BY comparison_id""",
            [objective],
        )
        return {row["comparison_id"]: row["first"] for row in rows}

    def _add(self, decided: Adjudication, withdrawn: bool) -> Adjudication:
        row = to_row(decided, exclude={"number"}) | {"withdrawn": withdrawn, "created_at": now()}
        with self._connections.write(durable=True) as connection:
            self._connections.lock("adjudications")
            insert(connection, "adjudications", [row], key="number")
            stored = connection.execute("SELECT * FROM adjudications ORDER BY number DESC LIMIT 1").fetchone()
            assert stored is not None
            return from_row(Adjudication, stored)
