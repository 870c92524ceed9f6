"""Which of two samples is better: comparisons, the judges' votes and everybody's preferences."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Literal

from rlhf_core.errors import InvalidInput, NotFound, RequestReused
from rlhf_core.records.feedback import Preference, Vote
from rlhf_core.records.samples import Comparison
from rlhf_core.seeding import UNIFORM_SLICE, uniform_draw
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now, stamped, to_row
from rlhf_core.store.samples import Samples, join_runs

_NEXT = """
SELECT c.id FROM comparisons AS c
LEFT JOIN (
  SELECT comparison_id, max(abstained AND reason <> 'no_principle') AS abstained, min(abs(probability - 0.5)) AS margin
  FROM live_preferences
  WHERE objective = :objective AND labeler GLOB 'ai:*' AND (:run_id IS NULL OR run_id = :run_id) GROUP BY comparison_id
) AS ai ON ai.comparison_id = c.id
WHERE (:run_id IS NULL OR EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = c.id))
  AND NOT EXISTS (
    SELECT 1 FROM live_preferences AS mine
    WHERE mine.comparison_id = c.id AND mine.objective = :objective AND mine.labeler = :labeler)
  AND (NOT :uniform OR c.draw < :slice)
ORDER BY (c.draw < :slice) = :turn DESC, CASE WHEN c.draw < :slice THEN c.draw END,
  CASE WHEN ai.abstained THEN 0 WHEN ai.margin IS NOT NULL THEN 1 ELSE 2 END, ai.margin, c.rowid LIMIT 1
"""
_GIVEN = "SELECT count(*) FROM live_preferences WHERE objective = ? AND labeler = ?"
TURNS = round(1 / UNIFORM_SLICE)
"""One question of so many comes from the uniform slice."""


class Labels:
    """Comparisons, votes and preferences.

    A labeler who labels a comparison again adds a revision; readers see the latest one that is not undone.
    AI labels are revised within their run; a human's label holds in every run.
    """

    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def add_comparisons(self, comparisons: Iterable[Comparison]) -> None:
        """Store comparisons, their samples and prompts."""
        comparisons, time = list(comparisons), now()
        rows = [
            {"id": c.id, "a_id": c.a.id, "b_id": c.b.id, "run_id": c.run_id, "created_at": time}
            | {"draw": uniform_draw(c.id)}
            for c in comparisons
        ]
        with self._connections.write() as connection:
            self._samples.add_samples(sample for c in comparisons for sample in (c.a, c.b))
            insert(connection, "comparisons", rows)
            join_runs(connection, "comparison", comparisons)

    def comparison(self, comparison_id: str) -> Comparison:
        found = self._comparisons(self._connections.rows("SELECT * FROM comparisons WHERE id = ?", [comparison_id]))
        if not found:
            raise NotFound(f"no comparison '{comparison_id}' in the store")
        return found[0]

    def comparisons(self, run_id: str) -> list[Comparison]:
        """A run's comparisons in the order in which it stored them."""
        rows = self._connections.rows(
            """SELECT c.* FROM comparisons AS c JOIN members AS m ON m.kind = 'comparison' AND m.record_id = c.id
            WHERE m.run_id = ? ORDER BY m.rowid""",
            [run_id],
        )
        return self._comparisons(rows)

    def add_votes(self, votes: Iterable[Vote]) -> None:
        """Store votes on stored comparisons; one whose id is known joins its run and changes nothing else."""
        votes = list(votes)
        with self._connections.write() as connection:
            insert(connection, "votes", stamped(votes))
            join_runs(connection, "vote", votes)

    def votes(self, comparison_ids: Iterable[str] | None = None, run_id: str | None = None) -> list[Vote]:
        """Votes on these comparisons, or of this run, or both; in the order in which they were cast."""
        rows = self._connections.rows(
            """SELECT v.* FROM votes AS v
            WHERE (:ids IS NULL OR v.comparison_id IN (SELECT value FROM json_each(:ids))) AND (:run_id IS NULL OR
              v.id IN (SELECT record_id FROM members WHERE run_id = :run_id AND kind = 'vote')) ORDER BY v.rowid""",
            {"ids": None if comparison_ids is None else json.dumps(list(comparison_ids)), "run_id": run_id},
        )
        return [from_row(Vote, row) for row in rows]

    def vote_counts(self) -> dict[str, int]:
        """Votes by principle hash, of all runs."""
        rows = self._connections.rows("SELECT principle_hash, count(*) AS n FROM votes GROUP BY principle_hash")
        return {row["principle_hash"]: row["n"] for row in rows}

    def comparisons_voted(self, principle_hashes: Iterable[str]) -> int:
        """How many comparisons have a vote under any of these principles."""
        rows = self._connections.rows(
            """SELECT count(DISTINCT comparison_id) AS n FROM votes
            WHERE principle_hash IN (SELECT value FROM json_each(?))""",
            [json.dumps(list(principle_hashes))],
        )
        return rows[0]["n"]

    def votes_by_id(self, ids: Iterable[str]) -> dict[str, Vote]:
        """The votes with these ids, whichever run cast them; an unknown id is left out."""
        rows = self._connections.rows(
            "SELECT * FROM votes WHERE id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))]
        )
        return {row["id"]: from_row(Vote, row) for row in rows}

    def add_preferences(self, preferences: Iterable[Preference]) -> None:
        """Store preferences, each a new revision; one that its run has stored already changes nothing."""
        preferences = list(preferences)
        with self._connections.write(durable=any(p.labeler.startswith("human:") for p in preferences)) as connection:
            new = [p for p in preferences if not self._revision(connection, p)]
            # By key, so that one call that names a preference twice stores it once.
            insert(connection, "preferences", stamped({(p.id, p.run_id): p for p in new}.values()), key="revision")

    def preferences(
        self,
        objective: str | None = None,
        run_id: str | None = None,
        labelers: Literal["ai", "human"] | None = None,
    ) -> list[Preference]:
        """Live preferences, skips and abstentions included, in the order in which they were given."""
        rows = self._connections.rows(
            """SELECT * FROM live_preferences WHERE (:objective IS NULL OR objective = :objective)
              AND (:run_id IS NULL OR run_id = :run_id) AND labeler GLOB :labeler ORDER BY revision""",
            {"objective": objective, "run_id": run_id, "labeler": f"{labelers}:*" if labelers else "*"},
        )
        return [from_row(Preference, row) for row in rows]

    def preference_page(
        self,
        size: int,
        after: int = 0,
        objective: str | None = None,
        run_id: str | None = None,
        labelers: Literal["ai", "human"] | None = None,
    ) -> tuple[list[Preference], int]:
        """As `preferences`, from after a place on, and the place of the last one; 0 where there are no more."""
        rows = self._connections.rows(
            """SELECT * FROM live_preferences WHERE (:objective IS NULL OR objective = :objective)
              AND (:run_id IS NULL OR run_id = :run_id) AND labeler GLOB :labeler AND revision > :after
            ORDER BY revision LIMIT :size""",
            {"objective": objective, "run_id": run_id, "labeler": f"{labelers}:*" if labelers else "*"}
            | {"after": after, "size": size + 1},
        )
        return [from_row(Preference, row) for row in rows[:size]], rows[size - 1]["revision"] if rows[size:] else 0

    def next_comparison(
        self, labeler: str, objective: str, run_id: str | None = None, uniform: bool = False
    ) -> Comparison | None:
        """What this labeler should judge next for the objective; None when all is labelled or skipped.

        First where the AI abstained, then where it is least sure, then what it has not judged. Every fifth question
        comes from the uniform slice, which is never asked in another turn while there is anything else: whatever part
        of it is labelled, in its own random order, is an unbiased sample. With `uniform` only the slice is asked.
        """
        given = self._connections.rows(_GIVEN, [objective, labeler])[0][0]
        question = {"labeler": labeler, "objective": objective, "run_id": run_id, "uniform": uniform}
        turn = uniform or given % TURNS == TURNS - 1
        rows = self._connections.rows(_NEXT, question | {"turn": turn, "slice": UNIFORM_SLICE})
        return self.comparison(rows[0]["id"]) if rows else None

    def submit_preference(self, preference: Preference, request_id: str) -> Preference:
        """Store one label, and return it once it is on the disk; the same request again changes nothing.

        Raises:
            RequestReused: the request id was used for another label.
            NotFound: the comparison is not in the store.
        """
        if not request_id:
            raise InvalidInput("request_id is empty; allowed: any text that is unique to this label", "request_id")
        with self._connections.write(durable=True) as connection:
            sql = "SELECT * FROM preferences WHERE request_id = ?"
            for row in connection.execute(sql, [request_id]):
                stored = from_row(Preference, row)
                if stored != preference:
                    where = f"on '{stored.comparison_id}'"
                    raise RequestReused(f"request '{request_id}' was used for another label, {where}")
                return stored
            self.comparison(preference.comparison_id)
            row = to_row(preference) | {"request_id": request_id, "created_at": now()}
            insert(connection, "preferences", [row], key="revision")
            return preference

    def undo_preference(self, labeler: str, request_id: str = "") -> Preference | None:
        """Take back this labeler's latest live label and return it; what it had replaced is live again.

        Nothing is deleted. With a `request_id`, the same request again returns the same label and undoes no other.
        """
        with self._connections.write(durable=True) as connection:
            done = connection.execute(
                """SELECT p.* FROM preferences AS p JOIN undos AS u ON u.preference_revision = p.revision
                WHERE u.request_id = ?""",
                [request_id],
            ).fetchone()
            if done:
                return from_row(Preference, done)
            sql = "SELECT * FROM live_preferences WHERE labeler = ? ORDER BY revision DESC LIMIT 1"
            latest = connection.execute(sql, [labeler]).fetchone()
            if latest is None:
                return None
            undo = {"preference_revision": latest["revision"], "request_id": request_id or None, "created_at": now()}
            insert(connection, "undos", [undo], key="preference_revision")
            return from_row(Preference, latest)

    def _comparisons(self, rows: list[sqlite3.Row]) -> list[Comparison]:
        samples = self._samples.samples_by_id({row[side] for row in rows for side in ("a_id", "b_id")})
        return [from_row(Comparison, row, a=samples[row["a_id"]], b=samples[row["b_id"]]) for row in rows]

    @staticmethod
    def _revision(connection: sqlite3.Connection, preference: Preference) -> sqlite3.Row | None:
        sql = "SELECT revision FROM preferences WHERE id = ? AND run_id = ?"
        return connection.execute(sql, [preference.id, preference.run_id]).fetchone()
