"""The replies of studies that people rate by themselves, and the ratings that count."""

from __future__ import annotations

import json
from collections.abc import Iterable

from rlhf_core.records.studies import Rating, StudyQuestion, StudyReply
from rlhf_core.store.connection import Connections
from rlhf_core.store.labelling.studies import HEARD
from rlhf_core.store.row_mapping import from_row

_COUNTS = f"{{rating}}.form = 'rating' AND {{rating}}.skipped = 0 AND {HEARD.format(label='{rating}')}"
"""Of an assessment: it is a rating that says something, of a person who has not been shut out."""
STILL_RATED = f"""EXISTS (
  SELECT 1 FROM study_questions AS q WHERE q.study_id = t.study_id AND q.form = 'ratings' AND q.objective = :objective
    AND q.closed_at = '' AND q.wanted > (
      SELECT count(*) FROM live_assessments AS given WHERE given.item_id = t.sample_id
        AND given.objective = :objective AND {_COUNTS.format(rating="given")}))"""
"""Of a study's reply `t`: it has too few ratings for `:objective`."""


class StudyRatings:
    """Ratings of studies; the assessments themselves are stored as all others."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def replies(self, study_id: str) -> list[StudyReply]:
        """Return every policy's replies that a study has rated, in the order in which they are asked about."""
        sql = "SELECT * FROM study_replies WHERE study_id = ? ORDER BY place, policy"
        return [from_row(StudyReply, row) for row in self._connections.rows(sql, [study_id])]

    def of_reply(self, sample_id: str) -> str:
        """Return the study that has a reply rated; empty where none does."""
        rows = self._connections.rows("SELECT study_id FROM study_replies WHERE sample_id = ? LIMIT 1", [sample_id])
        return rows[0]["study_id"] if rows else ""

    def among(self, sample_ids: Iterable[str]) -> set[str]:
        """Return those of the replies that a study has rated."""
        sql = "SELECT DISTINCT sample_id FROM study_replies WHERE sample_id IN (SELECT value FROM json_each(?))"
        return {row["sample_id"] for row in self._connections.rows(sql, [json.dumps(list(sample_ids))])}

    def progress(self, question: StudyQuestion) -> tuple[int, int]:
        """Count the replies that a question is asked about, and those of them that have all their ratings."""
        [row] = self._connections.rows(
            f"""SELECT count(DISTINCT t.sample_id) AS replies, count(DISTINCT CASE WHEN :wanted <= (
                SELECT count(*) FROM live_assessments AS l WHERE l.item_id = t.sample_id
                  AND l.objective = :objective AND {_COUNTS.format(rating="l")}) THEN t.sample_id END) AS done
            FROM study_replies AS t WHERE t.study_id = :study_id""",
            {"study_id": question.study_id, "objective": question.objective, "wanted": question.wanted},
        )
        return row["replies"], row["done"]

    def ratings(self, study_id: str, objective: str) -> list[Rating]:
        """Return people's ratings that count, oldest first: no skips, and nothing of who has been shut out."""
        rows = self._connections.rows(
            f"""SELECT l.item_id, l.rating, l.labeler FROM live_assessments AS l
            WHERE l.item_id IN (SELECT sample_id FROM study_replies WHERE study_id = ?) AND l.objective = ?
              AND {_COUNTS.format(rating="l")} ORDER BY l.revision""",
            [study_id, objective],
        )
        return [Rating(row["item_id"], row["rating"], row["labeler"]) for row in rows]

    def skips(self, study_id: str, objective: str) -> int:
        """Count people's answers that stand and say nothing."""
        [row] = self._connections.rows(
            """SELECT count(*) AS n FROM live_assessments AS l
            WHERE l.item_id IN (SELECT sample_id FROM study_replies WHERE study_id = ?) AND l.objective = ?
              AND l.form = 'rating' AND l.skipped = 1""",
            [study_id, objective],
        )
        return row["n"]

    def rated_by(self, labeler: str) -> list[tuple[str, str]]:
        """List the questions, as study and objective, on which this person's ratings stand."""
        rows = self._connections.rows(
            """SELECT DISTINCT t.study_id, l.objective FROM live_assessments AS l
            JOIN study_replies AS t ON t.sample_id = l.item_id WHERE l.labeler = ? AND l.form = 'rating'
            ORDER BY 1, 2""",
            [labeler],
        )
        return [(row["study_id"], row["objective"]) for row in rows]
