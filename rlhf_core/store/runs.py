"""Runs as leased jobs: created once, claimed by one worker at a time, every state change an event.

A worker claims a run and gets a fence number; each later write for the run names it. If the worker dies, or its
lease runs out, the next claim takes a higher fence, and what the old worker still sends is refused. A run that loses
its worker again and again in one place has FAILED: it may be what kills them.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime

from rlhf_core.errors import Conflict, InvalidInput, LeaseLost, NotFound, RequestReused, Stale, suggestion
from rlhf_core.records.base import RunState, Written
from rlhf_core.records.runs import Run
from rlhf_core.store.connection import Connection, Connections, Hold, Row
from rlhf_core.store.row_mapping import from_row, insert, now, to_json
from rlhf_core.store.run_history import Events, forgive
from rlhf_core.store.workers import is_dead

MAX_PAGE = 1000
MIN_REFERENCE = 4
"""Characters of a part of an id that stands for it: fewer are a slip of the pen."""
KNOWN_NAMED = 6
"""Runs that an error about an unknown one names."""
MAX_CRASHES = 5
"""Workers that a run may lose, by death or by a lease that ran out, without a stage or a checkpoint in between."""
_SEEN = "SELECT *, store_time(0) AS seen_at FROM runs"
"""Leases are given and judged by the database's clock, which all hosts share."""
_LAST = 2**63 - 1
_RELEASED: tuple[RunState, ...] = ("QUEUED", "PAUSED", "SUCCEEDED", "FAILED", "CANCELLED")


class Runs:
    """Runs and their leases."""

    def __init__(self, connections: Connections, events: Events):
        self._connections = connections
        self._events = events

    def create(
        self,
        kind: str,
        config_json: str,
        constitution_hash: str,
        request_id: str,
        display_name: str = "",
        note: str = "",
        tags: Mapping[str, str] | None = None,
    ) -> Run:
        """Queue a run; the same request again returns the same run. An empty `request_id` always makes a new one.

        Raises:
            RequestReused: the request id was used for a run of another kind, configuration or constitution.
        """
        body = {"kind": kind, "config": config_json, "constitution_hash": constitution_hash}
        with self._connections.write(durable=True) as connection:
            if request_id:
                self._connections.lock("run", request_id)
            known = connection.execute(f"{_SEEN} WHERE request_id = ?", [request_id]).fetchone()
            if known:
                if any(known[name] != value for name, value in body.items()):
                    raise RequestReused(f"request '{request_id}' was used for another run, '{known['id']}'")
                return self._run(known)
            time = now()
            row = {"id": _run_id(), "state": "QUEUED", "created_at": time, "updated_at": time, **body}
            written = {"display_name": display_name, "note": note, "request_id": request_id or None}
            written["tags"] = to_json(dict(tags or {}))
            insert(connection, "runs", [row | written])
            self._events.append(row["id"], "state", to_json({"state": "QUEUED", "attempt": 0}))
            return self.get(row["id"])

    def get(self, run_id: str) -> Run:
        return self._run(self._row(run_id))

    def held(self, run_id: str) -> Run:
        """Get a run as `get` does, inside a transaction, to the end of which the run stays so."""
        return self._run(self._row(run_id, hold="wait"))

    def find(self, reference: str) -> Run:
        """Find the run of an id, of the beginning of one or of its last part, or of a name that one run alone has.

        Raises:
            NotFound: no run is called so.
            InvalidInput: several are.
        """
        # Most know the whole id, which needs no look at every run.
        if self._connections.rows("SELECT id FROM runs WHERE id = ?", [reference]):
            return self.get(reference)
        short = reference.removeprefix("run-") if len(reference) >= MIN_REFERENCE else reference
        rows = self._connections.rows(
            """SELECT id FROM runs WHERE display_name = :name
              OR (length(:short) >= :least AND (substr(id, 1, length(:name)) = :name
                OR substr(id, length(id) - 5, length(:short)) = :short))
            ORDER BY number DESC LIMIT 20""",
            {"name": reference, "short": short, "least": MIN_REFERENCE},
        )
        if not reference or not rows:
            raise self._unknown(reference)
        if len(rows) > 1:
            some = ", ".join(row["id"] for row in rows[:5])
            raise InvalidInput(f"'{reference}' is {len(rows)} runs: {some}; give more of the id", "run_id")
        return self.get(rows[0]["id"])

    def page(
        self, page_size: int, page_token: str = "", states: Collection[RunState] = (), tags: Collection[str] = ()
    ) -> tuple[list[Run], str]:
        """Return a page of runs, newest first, and the token of the next page ('' at the end).

        Only of `states`, if any, and only those with all `tags`, each `key=value`, or `key` for any value.
        """
        if page_size < 1:
            raise InvalidInput(f"page_size is {page_size}; allowed: 1 to {MAX_PAGE}", "page_size")
        if page_token and not page_token.isdecimal():
            raise InvalidInput("page_token is not one that a list of runs returned", "page_token")
        rows = self._connections.rows(
            f"""{_SEEN} WHERE number < :before
              AND (:states = '[]' OR state IN (SELECT value FROM json_each(:states)))
              AND NOT EXISTS (SELECT 1 FROM json_each(:tags) AS wanted WHERE NOT EXISTS (
                SELECT 1 FROM json_each(runs.tags) AS tag
                WHERE tag.key = wanted.value OR tag.key || '=' || tag.value = wanted.value))
            ORDER BY number DESC LIMIT :size""",
            {
                "before": min(int(page_token or _LAST), _LAST),
                "size": min(page_size, MAX_PAGE) + 1,
                "states": to_json(list(states)),
                "tags": to_json(list(tags)),
            },
        )
        page = rows[: min(page_size, MAX_PAGE)]
        token = str(page[-1]["number"]) if len(rows) > len(page) else ""
        return [self._run(row) for row in page], token

    def counts(self) -> dict[RunState, int]:
        """Count the runs in each state; states without runs are left out."""
        rows = self._connections.rows("SELECT state, count(*) AS n FROM runs GROUP BY state")
        return {row["state"]: row["n"] for row in rows}

    def claim(self, owner: str, lease_seconds: float) -> Run | None:
        """Take the oldest run that is queued, or whose worker is gone; None when there is none.

        `owner` should be `workers.this_process()`: after a crash a worker on the same host then need not wait for the
        old lease to run out, because the dead process itself shows that it is free. A run that has lost
        `MAX_CRASHES` workers without a step forward is not claimed: it becomes FAILED, until someone resumes it.
        """
        with self._connections.write(durable=True) as connection:
            for row in self._free():
                if row["requested"]:
                    self._set_state(connection, row["id"], row["requested"])
                    continue
                crashes = row["crashes"] + (row["state"] == "RUNNING")
                if crashes >= MAX_CRASHES:
                    self._set_state(connection, row["id"], "FAILED", error=_crashed(row["stage"]))
                    continue
                sql = "UPDATE runs SET attempt = attempt + 1, fence = fence + 1, crashes = ? WHERE id = ?"
                connection.execute(sql, [crashes, row["id"]])
                self._set_state(connection, row["id"], "RUNNING", owner=owner, lease_seconds=lease_seconds)
                return self.get(row["id"])
        return None

    def on_queued(self, wake: Callable[[], None]) -> bool:
        """Call `wake`, from another thread, whenever a run is queued; False where the store cannot tell."""
        return self._connections.listen(wake)

    def settle(self) -> None:
        """Pause or cancel what was asked to, where the worker that would have done so is gone."""
        with self._connections.write(durable=True) as connection:
            asked = f"{_SEEN} WHERE state = 'RUNNING' AND requested <> ''"
            for row in self._connections.rows(asked, hold="skip"):
                if _lapsed(row):
                    self._set_state(connection, row["id"], row["requested"])

    def heartbeat(self, run_id: str, fence: int, lease_seconds: float) -> bool:
        """Extend the lease; False when it is lost, and the worker must stop without writing any more."""
        sql = "UPDATE runs SET lease_until = store_time(?) WHERE id = ? AND fence = ? AND state = 'RUNNING'"
        with self._connections.write() as connection:
            return connection.execute(sql, [lease_seconds, run_id, fence]).rowcount == 1

    def release(self, run_id: str, fence: int, state: RunState, error: str = "") -> Run:
        """End the lease and leave the run in `state`; PAUSED and QUEUED yield to a cancel or pause that was asked for.

        Raises:
            LeaseLost: the fence is stale.
        """
        if state not in _RELEASED:
            raise InvalidInput(f"state is '{state}'; allowed: {', '.join(_RELEASED)}", "state")
        with self._connections.write(durable=True) as connection:
            self.check_fence(run_id, fence)
            requested = self._row(run_id)["requested"]
            final = requested if requested and state in ("QUEUED", "PAUSED") else state
            forgive(connection, run_id)
            self._set_state(connection, run_id, final, error=error)
            return self.get(run_id)

    def update(self, run_id: str, written: Mapping[Written, str], etag: str = "") -> Run:
        """Change what people have written on the run.

        Raises:
            Stale: the run has another etag by now; without an `etag` it may be any. So it is with all verbs below.
        """
        with self._connections.write(durable=True) as connection:
            self._check_etag(run_id, etag)
            for name, text in written.items():
                sql = f"UPDATE runs SET {name} = ?, updated_at = ? WHERE id = ?"
                connection.execute(sql, [text, now(), run_id])
            return self.get(run_id)

    def cancel(self, run_id: str, etag: str = "") -> Run:
        """Cancel at once, or ask the worker that holds the run to; see `cancel_requested`."""
        return self._ask(run_id, "CANCELLED", etag)

    def pause(self, run_id: str, etag: str = "") -> Run:
        """Pause at once, or ask the worker that holds the run to; see `pause_requested`."""
        return self._ask(run_id, "PAUSED", etag)

    def resume(self, run_id: str, etag: str = "") -> Run:
        """Queue a paused or failed run again, or take back a pause that has not happened yet.

        Raises:
            Conflict: the run has succeeded, or is or will be cancelled.
        """
        with self._connections.write(durable=True) as connection:
            self._check_etag(run_id, etag)
            row = self._row(run_id, hold="wait")
            if row["state"] in ("SUCCEEDED", "CANCELLED") or row["requested"] == "CANCELLED":
                raise Conflict(f"run '{run_id}' is {_shown(row)}; only a paused or failed run can be resumed")
            if row["requested"]:
                connection.execute("UPDATE runs SET requested = '', updated_at = ? WHERE id = ?", [now(), run_id])
            elif row["state"] in ("PAUSED", "FAILED"):
                forgive(connection, run_id)
                self._set_state(connection, run_id, "QUEUED")
            return self.get(run_id)

    def cancel_requested(self, run_id: str) -> bool:
        return self._row(run_id)["requested"] == "CANCELLED"

    def pause_requested(self, run_id: str) -> bool:
        return self._row(run_id)["requested"] == "PAUSED"

    def set_progress(self, run_id: str, fence: int, stage: str, step: int, steps: int) -> None:
        """Note how far the run is, for those who watch it.

        Raises:
            LeaseLost: the fence is stale.
        """
        with self._connections.write() as connection:
            self.check_fence(run_id, fence)
            sql = "UPDATE runs SET stage = ?, step = ?, steps = ?, updated_at = ? WHERE id = ?"
            connection.execute(sql, [stage, step, steps, now(), run_id])

    def check_fence(self, run_id: str, fence: int) -> None:
        """Raise LeaseLost unless `fence` is the run's current one; inside a transaction it stays so to the end."""
        row = self._row(run_id, hold="wait")
        if row["fence"] != fence or row["state"] != "RUNNING":
            raise LeaseLost(f"run '{run_id}' is {row['state']} at fence {row['fence']}, not held at fence {fence}")

    def _check_etag(self, run_id: str, etag: str) -> None:
        run = self.held(run_id)
        if etag and etag != run.etag:
            raise Stale(
                f"run '{run_id}' has changed since etag '{etag}': it is {run.state} now",
                hint="read it again, and send its new etag or none",
            )

    def _ask(self, run_id: str, wanted: RunState, etag: str) -> Run:
        with self._connections.write(durable=True) as connection:
            self._check_etag(run_id, etag)
            row = self._row(run_id, hold="wait")
            gone = row["state"] == "RUNNING" and _lapsed(row)
            if row["state"] == wanted or (row["requested"] == wanted and not gone):
                return self._run(row)
            ends = row["requested"] == "CANCELLED" != wanted
            if row["state"] in ("SUCCEEDED", "FAILED", "CANCELLED") or ends:
                raise Conflict(f"run '{run_id}' is {_shown(row)} and cannot become {wanted}")
            if row["state"] == "RUNNING" and not gone:
                sql = "UPDATE runs SET requested = ?, updated_at = ? WHERE id = ?"
                connection.execute(sql, [wanted, now(), run_id])
            else:
                self._set_state(connection, run_id, wanted)
            return self.get(run_id)

    def _free(self) -> Iterator[Row]:
        """Runs that wait for a worker or have lost theirs, oldest first; each is held, and none that another holds."""
        open_runs = "SELECT id, state, lease_owner, lease_until, store_time(0) AS seen_at FROM runs"
        for seen in self._connections.rows(f"{open_runs} WHERE state IN ('QUEUED', 'RUNNING') ORDER BY number"):
            if _is_free(seen):
                # Read again: until it was held, another may have taken it.
                rows = self._connections.rows(f"{_SEEN} WHERE id = ?", [seen["id"]], hold="skip")
                yield from filter(_is_free, rows)

    def _set_state(
        self,
        connection: Connection,
        run_id: str,
        state: str,
        error: str = "",
        owner: str = "",
        lease_seconds: float = 0.0,
    ) -> None:
        connection.execute(
            """UPDATE runs SET state = :state, error = :error, requested = '', updated_at = :now, lease_owner = :owner,
            lease_until = CASE WHEN :owner = '' THEN '' ELSE store_time(:seconds) END WHERE id = :id""",
            {"state": state, "error": error, "owner": owner, "seconds": lease_seconds, "now": now(), "id": run_id},
        )
        body = {"state": state, "attempt": self._row(run_id)["attempt"]} | ({"error": error} if error else {})
        self._events.append(run_id, "state", to_json(body))

    def _row(self, run_id: str, hold: Hold = "") -> Row:
        rows = self._connections.rows(f"{_SEEN} WHERE id = ?", [run_id], hold)
        if not rows:
            raise self._unknown(run_id)
        return rows[0]

    def _run(self, row: Row) -> Run:
        if row["state"] != "RUNNING":
            return from_row(Run, row, lost=False, step_seconds=0.0)
        return from_row(Run, row, lost=_lapsed(row), step_seconds=self._events.pace(row["id"]))

    def _unknown(self, reference: str) -> NotFound:
        rows = self._connections.rows("SELECT id, display_name FROM runs ORDER BY number DESC LIMIT 20")
        # What is near depends on how the run is called: the long beginnings of ids are all alike.
        ids = [row["id"] if reference.startswith("run-2") else row["id"].rpartition("-")[2] for row in rows]
        known = [*filter(None, (row["display_name"] for row in rows)), *ids]
        hint = suggestion(reference, known, KNOWN_NAMED) if known else "there are no runs yet"
        return NotFound(f"no run '{reference[:200]}' in the store", hint=hint)


def _is_free(row: Row) -> bool:
    return row["state"] == "QUEUED" or (row["state"] == "RUNNING" and _lapsed(row))


def _lapsed(row: Row) -> bool:
    return row["lease_until"] <= row["seen_at"] or is_dead(row["lease_owner"])


def _crashed(stage: str) -> str:
    return (
        f"{MAX_CRASHES} workers in a row died or lost their lease in stage '{stage or 'none yet'}', without a step "
        "forward; look at the server's log and at its memory, then resume the run"
    )


def _shown(row: Row) -> str:
    return f"{row['state']}, to be {row['requested']}" if row["requested"] else row["state"]


def _run_id() -> str:
    """Sortable by the time of creation, and readable as a folder's name."""
    return f"run-{datetime.now(UTC):%Y%m%d-%H%M%S-%f}-{secrets.token_hex(3)}"
