"""What runs made, read back a page at a time, in the order in which each run stored it."""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import Comparison, Sample
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.row_mapping import from_row
from rlhf_core.store.samples import Samples

T = TypeVar("T")


class Placed(NamedTuple, Generic[T]):
    """A record, and its place among all that runs stored."""

    place: int
    record: T


class RunPages:
    """Records of runs; those that a run shares with an earlier one are its own too."""

    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def samples(
        self, run_id: str, size: int, after: int, stage: str = "", policy_version: str = ""
    ) -> list[Placed[Sample]]:
        """Return so many samples from after a place on; of one stage or version alone, where that is given."""
        rows = self._connections.rows(
            """SELECT m.rowid AS place, m.record_id AS id FROM members AS m JOIN samples AS s ON s.id = m.record_id
            WHERE m.run_id = :run AND m.kind = 'sample' AND m.rowid > :after AND (:stage = '' OR s.stage = :stage)
              AND (:version = '' OR s.policy_version = :version) ORDER BY m.rowid LIMIT :size""",
            {"run": run_id, "after": after, "stage": stage, "version": policy_version, "size": size},
        )
        found = self._samples.by_id(row["id"] for row in rows)
        return [Placed(row["place"], found[row["id"]]) for row in rows]

    def comparisons(self, run_id: str, size: int, after: int) -> list[Placed[Comparison]]:
        rows = self._rows("comparison", "comparisons", run_id, size, after)
        samples = self._samples.by_id({row[side] for row in rows for side in ("a_id", "b_id")})
        return [
            Placed(row["place"], from_row(Comparison, row, a=samples[row["a_id"]], b=samples[row["b_id"]]))
            for row in rows
        ]

    def revisions(self, run_id: str, size: int, after: int) -> list[Placed[Revision]]:
        rows = self._rows("revision", "revisions", run_id, size, after)
        return [Placed(row["place"], from_row(Revision, row)) for row in rows]

    def _rows(self, kind: str, table: str, run_id: str, size: int, after: int) -> list[Row]:
        return self._connections.rows(
            f"""SELECT m.rowid AS place, t.* FROM members AS m JOIN {table} AS t ON t.id = m.record_id
            WHERE m.run_id = :run AND m.kind = :kind AND m.rowid > :after ORDER BY m.rowid LIMIT :size""",
            {"run": run_id, "kind": kind, "after": after, "size": size},
        )
