"""Studies: what each declared, its pairs, and which of its questions are still asked; `study_ratings` has its ratings.

A study is a run of kind `study`: its id is the run's. Its pairs are that run's comparisons, so that people are given
them, and label them, as those of any other run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from rlhf_core.errors import NotFound
from rlhf_core.records.studies import Answer, StudyForm, StudyPair, StudyPlan, StudyQuestion, StudyReply
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now, stamped

TABLES = """
CREATE TABLE studies (
  id TEXT PRIMARY KEY, plan TEXT NOT NULL CHECK (json_valid(plan)), created_at TEXT NOT NULL) STRICT;
CREATE TABLE study_pairs (
  comparison_id TEXT PRIMARY KEY REFERENCES comparisons (id), study_id TEXT NOT NULL REFERENCES studies (id),
  place INTEGER NOT NULL, prompt_id TEXT NOT NULL, a_policy TEXT NOT NULL, b_policy TEXT NOT NULL,
  a_words INTEGER NOT NULL, b_words INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE INDEX study_pairs_of_study ON study_pairs (study_id, place);
CREATE INDEX study_pairs_of_prompt ON study_pairs (prompt_id);
CREATE TABLE study_questions (
  study_id TEXT NOT NULL REFERENCES studies (id), objective TEXT NOT NULL, labels_per_pair INTEGER NOT NULL,
  closed_at TEXT NOT NULL, closed_because TEXT NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (study_id, objective)) STRICT, WITHOUT ROWID;
"""
"""As a step of the schema made them: never edited, as all steps."""
NOT_STUDIED = "NOT EXISTS (SELECT 1 FROM study_pairs AS t WHERE t.comparison_id = c.id)"
"""Of a comparison `c`: it is of no study."""
HEARD = """substr({label}.labeler, 1, 6) = 'human:' AND {label}.labeler NOT IN (
  SELECT n.labeler FROM annotator_changes AS n WHERE n.standing = 'paused'
    AND n.number IN (SELECT max(number) FROM annotator_changes GROUP BY labeler))"""
"""Of a label: it is a person's who has not been shut out."""
_COUNTS = f"{{label}}.choice <> 'skip' AND {HEARD}"
"""Of a label: it is heard, and says something."""
STILL_ASKED = f"""
NOT EXISTS (SELECT 1 FROM study_pairs AS p WHERE p.comparison_id = c.id AND NOT EXISTS (
    SELECT 1 FROM study_questions AS q WHERE q.study_id = p.study_id AND q.form = 'pairs'
      AND q.objective = :objective AND q.closed_at = '' AND q.wanted > (
        SELECT count(*) FROM live_preferences AS given WHERE given.comparison_id = c.id
          AND given.objective = :objective AND {_COUNTS.format(label="given")})))
"""
"""Of a comparison `c`: it is of no study, or of one that asks about `:objective` and has too few labels of it."""


class Studies:
    """Studies by the ids of their runs."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, study_id: str, plan: StudyPlan) -> None:
        """Store what a study declares; it may not change, so the first that is stored stays."""
        row = {"id": study_id, "plan": plan.model_dump_json(), "created_at": now()}
        with self._connections.write(durable=True) as connection:
            insert(connection, "studies", [row])

    def get(self, study_id: str) -> StudyPlan:
        """Return what a study declared. Raises NotFound for a run that is none."""
        rows = self._connections.rows("SELECT plan FROM studies WHERE id = ?", [study_id])
        if not rows:
            raise NotFound(f"run '{study_id}' is no study", hint="a study is made by `charter study create`")
        return StudyPlan.model_validate_json(rows[0]["plan"])

    def page(self, size: int, before: int = 0) -> tuple[list[str], int]:
        """List the ids of studies whose runs are in the store, newest first, and the last one's place; 0 at the end."""
        rows = self._connections.rows(
            """SELECT r.number, s.id FROM studies AS s JOIN runs AS r ON r.id = s.id
            WHERE (:before = 0 OR r.number < :before) ORDER BY r.number DESC LIMIT :size""",
            {"before": before, "size": size + 1},
        )
        return [row["id"] for row in rows[:size]], rows[size - 1]["number"] if rows[size:] else 0

    def open(
        self, study_id: str, pairs: Sequence[StudyPair], plan: StudyPlan, replies: Sequence[StudyReply] = ()
    ) -> None:
        """Store all pairs of a study, and the replies that are rated, and begin to ask its questions.

        Their comparisons and samples are stored. Without any pair there is nothing to ask about pairs, and these
        questions are closed; without replies nobody is asked to rate any.
        """
        questions = [
            StudyQuestion(
                study_id=study_id,
                objective=name,
                wanted=plan.labels_per_pair,
                closed_at="" if pairs else now(),
                closed_because="" if pairs else "complete",
            )
            for name in plan.objectives
        ]
        if replies:
            asked = {"study_id": study_id, "wanted": plan.ratings_per_reply}
            questions += [StudyQuestion(form="ratings", objective=name, **asked) for name in plan.objectives]
        with self._connections.write() as connection:
            insert(connection, "study_pairs", stamped(pairs), key="comparison_id")
            insert(connection, "study_replies", stamped(replies), key="study_id, policy, prompt_id")
            insert(connection, "study_questions", stamped(questions), key="study_id, form, objective")

    def of_comparison(self, comparison_id: str) -> str:
        """Return the study of a pair; empty where it is of none."""
        sql = "SELECT study_id FROM study_pairs WHERE comparison_id = ?"
        rows = self._connections.rows(sql, [comparison_id])
        return rows[0]["study_id"] if rows else ""

    def among(self, comparison_ids: Iterable[str]) -> set[str]:
        """Return those of the comparisons that are pairs of a study."""
        sql = "SELECT comparison_id FROM study_pairs WHERE comparison_id IN (SELECT value FROM json_each(?))"
        return {row["comparison_id"] for row in self._connections.rows(sql, [json.dumps(list(comparison_ids))])}

    def pairs(self, study_id: str) -> list[StudyPair]:
        """Return a study's pairs, in the order in which they are asked about."""
        sql = "SELECT * FROM study_pairs WHERE study_id = ? ORDER BY place"
        return [from_row(StudyPair, row) for row in self._connections.rows(sql, [study_id])]

    def questions(self, study_id: str, form: StudyForm = "pairs") -> list[StudyQuestion]:
        """Return a study's questions of a form in the order of its plan; none before its replies are written."""
        sql = "SELECT * FROM study_questions WHERE study_id = ? AND form = ?"
        rows = self._connections.rows(sql, [study_id, form])
        found = {row["objective"]: from_row(StudyQuestion, row) for row in rows}
        return [found[name] for name in self.get(study_id).objectives if name in found]

    def progress(self, question: StudyQuestion) -> tuple[int, int]:
        """Count the pairs that a question is asked about, and those of them that have all their labels."""
        [row] = self._connections.rows(
            f"""SELECT (SELECT count(*) FROM study_pairs WHERE study_id = :study_id) AS pairs,
              (SELECT count(*) FROM study_pairs AS p WHERE p.study_id = :study_id AND :wanted <= (
                SELECT count(*) FROM live_preferences AS l WHERE l.comparison_id = p.comparison_id
                  AND l.objective = :objective AND {_COUNTS.format(label="l")})) AS done""",
            {"study_id": question.study_id, "objective": question.objective, "wanted": question.wanted},
        )
        return row["pairs"], row["done"]

    def answers(self, study_id: str, objective: str) -> list[Answer]:
        """Return people's labels that count, oldest first: no skips, and nothing of who has been shut out."""
        rows = self._connections.rows(
            f"""SELECT l.comparison_id, l.choice, l.labeler FROM live_preferences AS l
            JOIN study_pairs AS p ON p.comparison_id = l.comparison_id
            WHERE p.study_id = ? AND l.objective = ? AND {_COUNTS.format(label="l")} ORDER BY l.revision""",
            [study_id, objective],
        )
        return [Answer(row["comparison_id"], row["choice"], row["labeler"]) for row in rows]

    def skips(self, study_id: str, objective: str) -> int:
        """Count people's answers that stand and say nothing."""
        [row] = self._connections.rows(
            """SELECT count(*) AS n FROM live_preferences AS l
            JOIN study_pairs AS p ON p.comparison_id = l.comparison_id
            WHERE p.study_id = ? AND l.objective = ? AND substr(l.labeler, 1, 6) = 'human:' AND l.choice = 'skip'""",
            [study_id, objective],
        )
        return row["n"]

    def answered_by(self, labeler: str) -> list[tuple[str, str]]:
        """List the questions, as study and objective, on which this person's labels stand."""
        rows = self._connections.rows(
            """SELECT DISTINCT p.study_id, l.objective FROM live_preferences AS l
            JOIN study_pairs AS p ON p.comparison_id = l.comparison_id WHERE l.labeler = ? ORDER BY 1, 2""",
            [labeler],
        )
        return [(row["study_id"], row["objective"]) for row in rows]

    def hold(self) -> None:
        """Wait, inside a transaction, until nobody else changes whose labels count or which questions are asked.

        Until its end the others wait, so that each decides by what the one before it has stored.
        """
        self._connections.lock("study questions")

    def close(self, question: StudyQuestion) -> None:
        """Ask a question no more, for the reason that it names; with none, ask it again."""
        values: Mapping[str, str] = question.model_dump(include={"study_id", "form", "objective", "closed_because"})
        closed_at = now() if question.closed_because else ""
        with self._connections.write(durable=True) as connection:
            connection.execute(
                """UPDATE study_questions SET closed_at = :closed_at, closed_because = :closed_because
                WHERE study_id = :study_id AND form = :form AND objective = :objective""",
                {**values, "closed_at": closed_at},
            )
