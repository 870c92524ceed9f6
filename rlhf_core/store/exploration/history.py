"""All that the store knows of one sample: what was said of it, and the pairs that it is one of."""

from __future__ import annotations

import json

from rlhf_core.records.exploration import Judged, SampleHistory
from rlhf_core.records.feedback import Preference, Revision, Vote
from rlhf_core.records.models import GoldScore, Score
from rlhf_core.records.samples import Comparison
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.row_mapping import from_row
from rlhf_core.store.samples import Samples

MOST_PAIRS = 50
"""Of which a sample's history tells, the first ones."""


class SampleHistories:
    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def get(self, sample_id: str) -> SampleHistory:
        """Return what is known of a sample. Raises NotFound."""
        sample = self._samples.get(sample_id)
        runs = self._rows(
            "SELECT run_id FROM members WHERE kind = 'sample' AND record_id = ? ORDER BY rowid", sample_id
        )
        revisions = self._rows("SELECT * FROM revisions WHERE sample_id = ? ORDER BY round, rowid", sample_id)
        scores = self._rows("SELECT * FROM scores WHERE sample_id = ? ORDER BY objective, rowid", sample_id)
        gold = self._rows("SELECT * FROM gold_scores WHERE sample_id = ? ORDER BY rowid", sample_id)
        return SampleHistory(
            sample=sample,
            revisions=tuple(from_row(Revision, row) for row in revisions),
            judged=self._judged(sample_id),
            scores=tuple(from_row(Score, row) for row in scores),
            gold=tuple(from_row(GoldScore, row) for row in gold),
            run_ids=tuple(row["run_id"] for row in runs),
        )

    def _judged(self, sample_id: str) -> tuple[Judged, ...]:
        pairs = self._connections.rows(
            """SELECT * FROM comparisons WHERE id IN (
              SELECT id FROM comparisons WHERE a_id = :id UNION SELECT id FROM comparisons WHERE b_id = :id)
            ORDER BY rowid LIMIT :most""",
            {"id": sample_id, "most": MOST_PAIRS},
        )
        sides = self._samples.by_id({row[side] for row in pairs for side in ("a_id", "b_id")})
        ids = json.dumps([row["id"] for row in pairs])
        of_pairs = "WHERE comparison_id IN (SELECT value FROM json_each(?))"
        votes = [from_row(Vote, row) for row in self._rows(f"SELECT * FROM votes {of_pairs} ORDER BY rowid", ids)]
        labels = [
            from_row(Preference, row)
            for row in self._rows(f"SELECT * FROM live_preferences {of_pairs} ORDER BY revision", ids)
        ]
        return tuple(
            Judged(
                comparison=from_row(Comparison, row, a=sides[row["a_id"]], b=sides[row["b_id"]]),
                votes=tuple(vote for vote in votes if vote.comparison_id == row["id"]),
                preferences=tuple(label for label in labels if label.comparison_id == row["id"]),
            )
            for row in pairs
        )

    def _rows(self, sql: str, parameter: str) -> list[Row]:
        return self._connections.rows(sql, [parameter])
