"""Ratings, rankings and marked faults, as people gave them and took them back."""

from __future__ import annotations

from datetime import datetime

from rlhf_core.records.assessments import Assessment, Form
from rlhf_core.store.connection import Connections
from rlhf_core.store.labelling.assessment_queue import AssessmentQueue
from rlhf_core.store.row_mapping import from_row, insert, now, to_row, utc_text
from rlhf_core.store.run_pages import Placed

_FOUND = """
SELECT * FROM live_assessments AS a
WHERE (:form = '' OR form = :form) AND (:objective = '' OR objective = :objective)
  AND (:run_id = '' OR run_id = :run_id OR NOT EXISTS (
    SELECT 1 FROM json_each(a.sample_ids) AS e WHERE NOT EXISTS (
      SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'sample' AND m.record_id = e.value)))
  AND revision > :after ORDER BY revision
"""
"""Of a run: of replies that are all its own, though another run may have stored them first."""


class Assessments:
    """A labeler who assesses an item again adds a revision; readers see the latest one that is not undone."""

    def __init__(self, connections: Connections, queue: AssessmentQueue):
        self._connections = connections
        self._queue = queue

    def submit(self, assessment: Assessment) -> Assessment:
        """Store one assessment of stored samples, and return it with its time once it is on the disk."""
        stored = assessment.model_copy(update={"created_at": now()})
        with self._connections.write(durable=True) as connection:
            self._connections.lock("assessments")
            insert(connection, "assessments", [to_row(stored)], key="revision")
            self._queue.let_go(stored.labeler, stored.form, stored.item_id, stored.objective)
        return stored

    def find(self, objective: str = "", run_id: str = "", form: Form | None = None) -> list[Assessment]:
        """Find assessments that stand, skips included, in the order in which they were given."""
        asked = {"form": form or "", "objective": objective, "run_id": run_id, "after": 0}
        return [from_row(Assessment, row) for row in self._connections.rows(_FOUND, asked)]

    def page(
        self, size: int, after: int = 0, objective: str = "", run_id: str = "", form: Form | None = None
    ) -> list[Placed[Assessment]]:
        """Find so many assessments as `find` does, from after a place on, each with its place."""
        asked = {"form": form or "", "objective": objective, "run_id": run_id, "after": after, "size": size}
        rows = self._connections.rows(f"{_FOUND} LIMIT :size", asked)
        return [Placed(row["revision"], from_row(Assessment, row)) for row in rows]

    def given(self, labeler: str, since: datetime) -> dict[str, int]:
        """Count this labeler's assessments that stand, by form, of those given since then.

        A form without any is left out.
        """
        rows = self._connections.rows(
            """SELECT form, count(*) AS n FROM live_assessments WHERE labeler = ? AND created_at >= ?
            GROUP BY form""",
            [labeler, utc_text(since)],
        )
        return {row["form"]: row["n"] for row in rows}

    def undo(self, labeler: str, form: Form | None = None, item_id: str = "", objective: str = "") -> Assessment | None:
        """Take back this labeler's latest assessment that stands, and return it; what it had replaced stands again.

        With a form, an item or an objective it is the latest of these. Nothing is deleted.
        """
        with self._connections.write(durable=True) as connection:
            self._connections.lock("assessments")
            latest = connection.execute(
                """SELECT * FROM live_assessments WHERE labeler = :labeler AND (:form = '' OR form = :form)
                  AND (:item_id = '' OR item_id = :item_id) AND (:objective = '' OR objective = :objective)
                ORDER BY revision DESC LIMIT 1""",
                {"labeler": labeler, "form": form or "", "item_id": item_id, "objective": objective},
            ).fetchone()
            if latest is None:
                return None
            undo = {"assessment_revision": latest["revision"], "created_at": now()}
            insert(connection, "assessment_undos", [undo], key="assessment_revision")
            return from_row(Assessment, latest)
