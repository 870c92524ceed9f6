"""What steers a run under way: weights that people give it, and what was seen of the policy while it trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rlhf_core.errors import Conflict
from rlhf_core.records.runs import WatchPoint, WeightChange
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now, stamped, to_json
from rlhf_core.store.runs import Runs

ENDED = ("SUCCEEDED", "FAILED", "CANCELLED")


class Weights:
    """Weights that people ask a run for."""

    def __init__(self, connections: Connections, runs: Runs):
        self._connections = connections
        self._runs = runs

    def ask(self, run_id: str, weights: Mapping[str, float]) -> WeightChange:
        """Leave weights for the run's next PPO step; the last ones left before it count.

        Raises:
            Conflict: the run has ended; a failed one takes weights once it is resumed.
        """
        change = WeightChange(run_id=run_id, weights=dict(weights))
        with self._connections.write(durable=True) as connection:
            state = self._runs.held(run_id).state
            if state in ENDED:
                raise Conflict(f"run '{run_id}' is {state}; weights can be set while it waits, runs or is paused")
            insert(connection, "weight_changes", [_row(change)], key="number")
        return change

    def take(self, run_id: str, fence: int, step: int) -> WeightChange | None:
        """Take up the weights that wait, and return those that hold at a step, from 1; None where nobody gave any.

        A step that is done again, after a crash, finds the weights of its first time, unless others came meanwhile:
        what was given last holds from the step that took it on.

        Raises:
            LeaseLost: the fence is stale.
        """
        if not self.of_run(run_id):
            return None
        with self._connections.write(durable=True) as connection:
            self._runs.check_fence(run_id, fence)
            sql = "UPDATE weight_changes SET from_step = ? WHERE run_id = ? AND from_step IS NULL"
            connection.execute(sql, [step, run_id])
            rows = connection.execute(
                """SELECT * FROM weight_changes WHERE run_id = ? AND from_step <= ?
                ORDER BY number DESC LIMIT 1""",
                [run_id, step],
            ).fetchall()
        return from_row(WeightChange, rows[0]) if rows else None

    def of_run(self, run_id: str) -> list[WeightChange]:
        """Return all weights that were asked for, in their order."""
        rows = self._connections.rows("SELECT * FROM weight_changes WHERE run_id = ? ORDER BY number", [run_id])
        return [from_row(WeightChange, row) for row in rows]


class WatchPoints:
    """What was seen of policies while they trained."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, points: Sequence[WatchPoint]) -> None:
        """Store points; those of a step that is done again take the place of its first ones."""
        with self._connections.write() as connection:
            for step in {(point.run_id, point.step) for point in points}:
                connection.execute("DELETE FROM watch_points WHERE run_id = ? AND step = ?", step)
            insert(connection, "watch_points", stamped(points), key="run_id, step, objective")

    def of_run(self, run_id: str) -> list[WatchPoint]:
        """Return watch points by step, then in the order in which they were added."""
        rows = self._connections.rows("SELECT * FROM watch_points WHERE run_id = ? ORDER BY step, rowid", [run_id])
        return [from_row(WatchPoint, row) for row in rows]


def _row(change: WeightChange) -> dict[str, object]:
    return {
        "run_id": change.run_id,
        "weights": to_json(change.weights),
        "from_step": change.from_step,
        "created_at": now(),
    }
