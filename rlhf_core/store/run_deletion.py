"""A run taken out of the store, with what only it needs.

What another run counts stays, and so does what people have labelled: their labels, the pairs and the replies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from rlhf_core.errors import Conflict
from rlhf_core.store.aliases import Aliases
from rlhf_core.store.connection import Connection, Connections
from rlhf_core.store.garbage_collection import Garbage
from rlhf_core.store.runs import Runs

_BY_AI = "run_id = :run AND substr(labeler, 1, 3) = 'ai:'"
_ONLY_ITS = """(SELECT record_id FROM members WHERE run_id = :run AND kind = '{kind}' AND record_id NOT IN
  (SELECT record_id FROM members WHERE run_id <> :run AND kind = '{kind}'))"""
_SETS = {
    "gone_comparisons": f"""SELECT id FROM comparisons WHERE id IN {_ONLY_ITS.format(kind="comparison")}
      AND id NOT IN (SELECT comparison_id FROM preferences WHERE substr(labeler, 1, 6) = 'human:' OR run_id <> :run)
      AND id NOT IN (SELECT comparison_id FROM adjudications)
      AND id NOT IN (SELECT v.comparison_id FROM votes AS v JOIN members AS m ON m.kind = 'vote' AND m.record_id = v.id
        WHERE m.run_id <> :run)""",
    "gone_votes": f"""SELECT id FROM votes
      WHERE id IN {_ONLY_ITS.format(kind="vote")} OR comparison_id IN (SELECT id FROM gone_comparisons)""",
    "gone_revisions": f"SELECT id FROM revisions WHERE id IN {_ONLY_ITS.format(kind='revision')}",
    "gone_samples": f"""SELECT id FROM samples WHERE id IN {_ONLY_ITS.format(kind="sample")}
      AND id NOT IN (SELECT sample_id FROM revisions WHERE id NOT IN (SELECT id FROM gone_revisions))
      AND id NOT IN (SELECT a_id FROM comparisons WHERE id NOT IN (SELECT id FROM gone_comparisons))
      AND id NOT IN (SELECT b_id FROM comparisons WHERE id NOT IN (SELECT id FROM gone_comparisons))
      AND id NOT IN (SELECT e.value FROM assessments AS a, json_each(a.sample_ids) AS e)""",
    "gone_prompts": """SELECT DISTINCT prompt_id AS id FROM samples WHERE id IN (SELECT id FROM gone_samples)
      AND prompt_id NOT IN (SELECT prompt_id FROM samples WHERE id NOT IN (SELECT id FROM gone_samples))""",
    "gone_models": "SELECT id FROM reward_models WHERE run_id = :run",
    "gone_terms": """SELECT id FROM sample_terms
      WHERE run_id = :run OR (kind = 'score' AND detail IN (SELECT id FROM gone_models))""",
}
"""What goes, each set by those before it."""
_ROWS = (
    ("votes", "id IN (SELECT id FROM gone_votes)"),
    (
        "undos",
        f"preference_revision IN (SELECT revision FROM preferences WHERE {_BY_AI})",
    ),
    ("preferences", _BY_AI),
    # A study's labelled pairs and rated replies stay known as such, so that nothing is ever trained on them.
    ("study_questions", "study_id = :run"),
    ("study_pairs", "comparison_id IN (SELECT id FROM gone_comparisons)"),
    ("study_replies", "sample_id IN (SELECT id FROM gone_samples)"),
    (
        "studies",
        "id = :run AND id NOT IN (SELECT study_id FROM study_pairs UNION SELECT study_id FROM study_replies)",
    ),
    ("pair_information", "comparison_id IN (SELECT id FROM gone_comparisons)"),
    ("comparisons", "id IN (SELECT id FROM gone_comparisons)"),
    ("revisions", "id IN (SELECT id FROM gone_revisions)"),
    ("scores", "sample_id IN (SELECT id FROM gone_samples) OR reward_model IN (SELECT id FROM gone_models)"),
    ("gold_scores", "sample_id IN (SELECT id FROM gone_samples)"),
    ("sample_postings", "term IN (SELECT id FROM gone_terms)"),
    ("sample_terms", "id IN (SELECT id FROM gone_terms)"),
    ("sample_numbers", "sample_id IN (SELECT id FROM gone_samples)"),
    ("samples", "id IN (SELECT id FROM gone_samples)"),
    ("prompts", "id IN (SELECT id FROM gone_prompts)"),
    *(
        (table, "run_id = :run")
        for table in (
            *("members", "run_events", "stage_results", "checkpoints", "watch_points", "weight_changes"),
            *("calibrations", "gates", "norm_packs", "reward_models", "policy_versions"),
        )
    ),
    ("runs", "id = :run"),
)
"""Tables in an order in which no row is left without what it refers to."""
TABLES = tuple(table for table, _ in _ROWS)
"""Those from which a deletion may take rows."""
_WAITING_STUDIES = """SELECT s.id FROM studies AS s JOIN runs AS r ON r.id = s.id
WHERE r.state IN ('QUEUED', 'RUNNING', 'PAUSED') AND s.id NOT IN (SELECT study_id FROM study_questions)
  AND EXISTS (SELECT 1 FROM json_each(json_extract(s.plan, '$.policies')) AS e
    JOIN policy_versions AS v ON v.id = e.value WHERE v.run_id = :run)
ORDER BY r.number"""
"""Of policies that the run made, whose replies are still to be written."""
_KEPT_LABELS = """SELECT (SELECT count(*) FROM assessments WHERE run_id = :run)
  + (SELECT count(*) FROM preferences WHERE run_id = :run AND substr(labeler, 1, 6) = 'human:') AS n"""
_UNTOLD = ("members", "undos", "sample_postings", "sample_terms", "sample_numbers")


class Deleted(NamedTuple):
    """What a run's deletion takes."""

    rows: dict[str, int]
    """Table -> rows, of those that lose any."""
    kept_labels: int
    """Labels and assessments that people gave of the run's replies; they stay, with pairs and replies."""
    artifacts: int
    """Artifacts that nothing names any more; collecting garbage frees them."""
    size: int
    """Their bytes."""


class Deletion:
    """Runs taken out for good."""

    def __init__(self, connections: Connections, runs: Runs, aliases: Aliases, garbage: Garbage):
        self._connections, self._runs, self._aliases, self._garbage = connections, runs, aliases, garbage

    def delete(self, run_id: str, etag: str = "", sizes: Mapping[str, int] | None = None) -> Deleted:
        """Delete a run and what only it needs, in one transaction.

        Within another one the artifacts' `sizes` are given, so that nobody waits for an object store meanwhile.

        Raises:
            Conflict: the run waits or is carried out, another run goes on from it, or an alias or a study needs its
                versions.
            Stale: it has another etag by now.
        """
        sizes = self._garbage.sizes() if sizes is None else sizes
        # Alone: another run must not come to need meanwhile what is about to go.
        with self._connections.write(durable=True, alone=True) as connection:
            self._check(run_id, etag)
            before = self._garbage.named()
            for name, query in _SETS.items():
                connection.execute(f"CREATE TEMP TABLE {name} AS {query}", {"run": run_id})
            kept = self._connections.rows(_KEPT_LABELS, {"run": run_id})[0]["n"]
            rows = {table: _delete(connection, table, where, run_id) for table, where in _ROWS}
            # Pairs that stay are no run's any more, and keep their place in the order in which people are asked.
            for table in ("comparisons", "pair_information"):
                connection.execute(f"UPDATE {table} SET run_id = '' WHERE run_id = ?", [run_id])
            for name in _SETS:
                connection.execute(f"DROP TABLE {name}")
            lost = before - self._garbage.named()
            told = {table: count for table, count in rows.items() if count and table not in _UNTOLD}
            return Deleted(told, kept, len(lost), sum(sizes.get(digest, 0) for digest in lost))

    def _check(self, run_id: str, etag: str) -> None:
        run = self._runs.update(run_id, {}, etag)
        if run.status not in ("SUCCEEDED", "FAILED", "CANCELLED", "PAUSED", "LOST"):
            raise Conflict(f"run '{run_id}' is {run.status}; cancel it first, and delete it when it has stopped")
        followers = self._connections.rows("SELECT id FROM runs WHERE json_extract(config, '$.from_run') = ?", [run_id])
        if followers:
            names = ", ".join(row["id"] for row in followers[:5])
            raise Conflict(f"run '{run_id}' is what other runs go on from: {names}; delete them first")
        studies = self._connections.rows(_WAITING_STUDIES, {"run": run_id})
        if studies:
            names = ", ".join(row["id"] for row in studies[:5])
            raise Conflict(f"run '{run_id}' made a policy that a study is about to ask: {names}; cancel that first")
        own = self._connections.rows(
            "SELECT id FROM policy_versions WHERE run_id = ? AND id IN (SELECT value FROM json_each(?))",
            [run_id, json.dumps(list(needed := self._aliases.needed()))],
        )
        if own:
            told = ", ".join(f"{row['id']} ({' and '.join(needed[row['id']])})" for row in own)
            raise Conflict(
                f"run '{run_id}' made what an alias holds, or would hold after a rollback: {told}; promote others, "
                "until no rollback leads there"
            )


def _delete(connection: Connection, table: str, where: str, run_id: str) -> int:
    return connection.execute(f"DELETE FROM {table} WHERE {where}", {"run": run_id}).rowcount
