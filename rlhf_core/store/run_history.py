"""What a run has done so far: its events, the results of its stages, its checkpoints."""

from __future__ import annotations

from datetime import datetime

from rlhf_core.errors import NotFound
from rlhf_core.records.base import Stage
from rlhf_core.records.models import Checkpoint
from rlhf_core.records.runs import RunEvent, StageResult
from rlhf_core.store.connection import Connection, Connections
from rlhf_core.store.row_mapping import from_row, insert, now, stamped

PACE_STEPS = 6


class Events:
    """Events of runs, numbered within each; they only grow."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def append(self, run_id: str, kind: str, body_json: str) -> RunEvent:
        """Add the run's next event; inside a transaction, it stands or falls with the change that it tells of."""
        with self._connections.write() as connection:
            # Held, so that the run's events get their numbers in the order in which they are committed.
            if not self._connections.rows("SELECT id FROM runs WHERE id = ?", [run_id], hold="wait"):
                raise NotFound(f"no run '{run_id}' in the store")
            sql = "SELECT coalesce(max(sequence), 0) + 1 AS next FROM run_events WHERE run_id = ?"
            sequence: int = self._connections.rows(sql, [run_id])[0]["next"]
            event = RunEvent(run_id=run_id, sequence=sequence, kind=kind, body=body_json, created_at=now())
            insert(connection, "run_events", [event.model_dump()], key="run_id, sequence")
            return event

    def of_run(self, run_id: str, after_sequence: int = 0, limit: int = 1000) -> list[RunEvent]:
        """Return the run's events after a sequence number, oldest first."""
        rows = self._connections.rows(
            "SELECT * FROM run_events WHERE run_id = ? AND sequence > ? ORDER BY sequence LIMIT ?",
            [run_id, after_sequence, limit],
        )
        return [from_row(RunEvent, row) for row in rows]

    def before(self, run_id: str, sequence: int, limit: int) -> list[RunEvent]:
        """Return the run's events before a sequence number, newest first."""
        rows = self._connections.rows(
            "SELECT * FROM run_events WHERE run_id = ? AND sequence < ? ORDER BY sequence DESC LIMIT ?",
            [run_id, sequence, limit],
        )
        return [from_row(RunEvent, row) for row in rows]

    def pace(self, run_id: str) -> float:
        """Return the seconds between the run's last few steps, on average.

        They are 0 with fewer than two of one stage in a row.
        """
        rows = self._connections.rows(
            """SELECT json_extract(body, '$.stage') AS stage, created_at FROM run_events
            WHERE run_id = ? AND kind = 'metrics' ORDER BY sequence DESC LIMIT ?""",
            [run_id, PACE_STEPS],
        )
        times = [datetime.fromisoformat(row["created_at"]) for row in rows if row["stage"] == rows[0]["stage"]]
        return (times[0] - times[-1]).total_seconds() / (len(times) - 1) if len(times) > 1 else 0.0


class StageResults:
    """What finished stages hand on."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, result: StageResult) -> None:
        """Store what a finished stage hands on; the first result of a stage stands."""
        with self._connections.write(durable=True) as connection:
            insert(connection, "stage_results", stamped([result]), key="run_id, stage")
            forgive(connection, result.run_id)

    def of_run(self, run_id: str) -> dict[Stage, StageResult]:
        """Return a run's results by stage, in the order in which the stages finished."""
        rows = self._connections.rows("SELECT * FROM stage_results WHERE run_id = ? ORDER BY rowid", [run_id])
        return {row["stage"]: from_row(StageResult, row) for row in rows}


class Checkpoints:
    """Where a stage that was interrupted goes on from."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, checkpoint: Checkpoint) -> None:
        with self._connections.write(durable=True) as connection:
            insert(connection, "checkpoints", stamped([checkpoint]), key="run_id, stage, step")
            forgive(connection, checkpoint.run_id)

    def replace(self, checkpoint: Checkpoint) -> list[str]:
        """Store a checkpoint in the place of the stage's earlier ones, and return the artifacts that those had."""
        earlier = "FROM checkpoints WHERE run_id = ? AND stage = ? AND step < ?"
        key = [checkpoint.run_id, checkpoint.stage, checkpoint.step]
        with self._connections.write(durable=True) as connection:
            left = [row["artifact"] for row in connection.execute(f"SELECT artifact {earlier}", key).fetchall()]
            connection.execute(f"DELETE {earlier}", key)
            self.add(checkpoint)
        return left

    def at(self, run_id: str, stage: Stage, step: int) -> Checkpoint | None:
        rows = self._connections.rows(
            "SELECT * FROM checkpoints WHERE run_id = ? AND stage = ? AND step = ?", [run_id, stage, step]
        )
        return from_row(Checkpoint, rows[0]) if rows else None

    def latest(self, run_id: str, stage: Stage) -> Checkpoint | None:
        rows = self._connections.rows(
            "SELECT * FROM checkpoints WHERE run_id = ? AND stage = ? ORDER BY step DESC LIMIT 1", [run_id, stage]
        )
        return from_row(Checkpoint, rows[0]) if rows else None


def forgive(connection: Connection, run_id: str) -> None:
    """Count the workers that the run loses from now on: it has made a step forward, or someone has resumed it."""
    connection.execute("UPDATE runs SET crashes = 0 WHERE id = ?", [run_id])
