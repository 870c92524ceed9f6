"""People who label: all that they answered, whom they were asked about twice, and what reviewers said of them."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_core.records.annotation import AnnotatorChange, Answer, Standing
from rlhf_core.records.feedback import Preference
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now, to_row

_ALL = 2**62
_ANSWERS = """
SELECT p.*, p.created_at AS given_at, s.prompt_id FROM preferences AS p
JOIN comparisons AS c ON c.id = p.comparison_id JOIN samples AS s ON s.id = c.a_id
WHERE {whose} AND (:objective IS NULL OR p.objective = :objective)
  AND (:run_id IS NULL OR EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = c.id))
  AND (p.revision IN (
      SELECT l.revision FROM live_preferences AS l
      WHERE l.comparison_id = p.comparison_id AND l.objective = p.objective AND l.labeler = p.labeler)
    OR p.repeated = 1 AND p.revision NOT IN (SELECT preference_revision FROM undos))
  AND p.revision > :after ORDER BY p.revision LIMIT :size
"""
_PEOPLE = "p.labeler >= 'human:' AND p.labeler < 'human;'"
"""As an index finds them among the many labels of the AI."""


class Annotators:
    """What people answered, as measurements of them see it: with times, skips and second answers."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def answers(
        self,
        objective: str | None = None,
        run_id: str | None = None,
        labeler: str | None = None,
        *,
        after: int = 0,
        size: int | None = None,
    ) -> list[Answer]:
        """Find answers that stand, oldest first; of a run those on its comparisons; so many of those after `after`.

        Those on pairs of studies are among them.
        """
        asked = {"objective": objective, "run_id": run_id, "labeler": labeler, "after": after}
        sql = _ANSWERS.format(whose=_PEOPLE if labeler is None else "p.labeler = :labeler")
        rows = self._connections.rows(sql, asked | {"size": _ALL if size is None else size})
        return [from_row(Answer, row) for row in rows]

    def judged(self, objective: str) -> list[Preference]:
        """Find the AI's labels of comparisons that somebody answered for the objective, oldest first."""
        rows = self._connections.rows(
            f"""SELECT * FROM live_preferences WHERE objective = :objective AND substr(labeler, 1, 3) = 'ai:'
              AND comparison_id IN (
                SELECT p.comparison_id FROM preferences AS p WHERE {_PEOPLE} AND p.objective = :objective)
            ORDER BY revision""",
            {"objective": objective},
        )
        return [from_row(Preference, row) for row in rows]

    def ask_again(self, labeler: str, objective: str, comparison_ids: Iterable[str]) -> None:
        """Take this person's next answers on these comparisons for second ones."""
        time = now()
        rows = [
            {"labeler": labeler, "objective": objective, "comparison_id": pair, "created_at": time}
            for pair in comparison_ids
        ]
        with self._connections.write() as connection:
            insert(connection, "label_repeats", rows, key="labeler, objective, comparison_id")

    def change(self, said: AnnotatorChange) -> AnnotatorChange:
        """Store what a reviewer says of one person, and return it with its number and time."""
        row = to_row(said, exclude={"number"}) | {"created_at": now()}
        with self._connections.write(durable=True) as connection:
            self._connections.lock("annotators")
            insert(connection, "annotator_changes", [row], key="number")
            stored = connection.execute("SELECT * FROM annotator_changes ORDER BY number DESC LIMIT 1").fetchone()
            assert stored is not None
            return from_row(AnnotatorChange, stored)

    def standings(self) -> dict[str, Standing]:
        """Return the standing of each labeler, of those whom a reviewer has spoken of."""
        rows = self._connections.rows(
            """SELECT labeler, standing FROM annotator_changes
            WHERE number IN (SELECT max(number) FROM annotator_changes GROUP BY labeler) ORDER BY labeler"""
        )
        return {row["labeler"]: row["standing"] for row in rows}

    def shut_out(self) -> set[str]:
        """Labelers who get nothing more, and whose labels count for nothing."""
        return {labeler for labeler, standing in self.standings().items() if standing == "paused"}
