"""How each answer was scored: by reward models, and by a world that knows the truth."""

from __future__ import annotations

from collections.abc import Iterable

from rlhf_core.records.models import GoldScore, Score
from rlhf_core.store.connection import Connections
from rlhf_core.store.exploration.terms import post
from rlhf_core.store.row_mapping import from_row, insert, stamped


class Scores:
    """Scores of stored samples by reward models."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, scores: Iterable[Score]) -> None:
        """Store reward models' scores of stored samples, one for each sample, reward model and objective."""
        scores = list(scores)
        with self._connections.write() as connection:
            insert(connection, "scores", stamped(scores), key="sample_id, reward_model, objective")
            post(connection, (score.sample_id for score in scores))

    def of_run(self, run_id: str, objective: str | None = None, reward_model: str | None = None) -> list[Score]:
        """Return the scores of a run's samples; a sample that several reward models scored has several."""
        rows = self._connections.rows(
            """SELECT x.* FROM scores AS x JOIN members AS m ON m.kind = 'sample' AND m.record_id = x.sample_id
            WHERE m.run_id = :run_id AND (:objective IS NULL OR x.objective = :objective)
              AND (:reward_model IS NULL OR x.reward_model = :reward_model) ORDER BY x.rowid""",
            {"run_id": run_id, "objective": objective, "reward_model": reward_model},
        )
        return [from_row(Score, row) for row in rows]


class GoldScores:
    """Grades of stored samples by a world itself."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, scores: Iterable[GoldScore]) -> None:
        """Store a world's own grades of stored samples, one for each sample and kind."""
        with self._connections.write() as connection:
            insert(connection, "gold_scores", stamped(scores), key="sample_id, kind")

    def of_run(self, run_id: str) -> list[GoldScore]:
        rows = self._connections.rows(
            """SELECT g.* FROM gold_scores AS g JOIN members AS m ON m.kind = 'sample' AND m.record_id = g.sample_id
            WHERE m.run_id = ? ORDER BY g.rowid""",
            [run_id],
        )
        return [from_row(GoldScore, row) for row in rows]
