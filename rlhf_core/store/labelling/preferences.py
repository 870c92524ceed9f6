"""Which sample of a comparison is better: everybody's labels, AI and human."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from rlhf_core.errors import InvalidInput, RequestReused
from rlhf_core.records.feedback import Labelers, Preference
from rlhf_core.store.connection import Connection, Connections
from rlhf_core.store.labelling.comparisons import Comparisons
from rlhf_core.store.row_mapping import from_row, insert, now, stamped, to_row, utc_text

_FOUND = """
SELECT * FROM live_preferences AS p WHERE (:objective IS NULL OR objective = :objective)
  AND (:run_id IS NULL OR run_id = :run_id OR substr(labeler, 1, 6) = 'human:' AND EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = p.comparison_id))
  AND substr(labeler, 1, length(:whose)) = :whose AND revision > :after ORDER BY revision
"""
"""Of a run: the AI's labels of it, and people's on its pairs, though another run may have stored these first."""
_STANDING = """revision IN (SELECT revision FROM live_preferences WHERE labeler = :labeler)
  OR labeler = :labeler AND repeated = 1 AND revision NOT IN (SELECT preference_revision FROM undos)"""
"""A labeler's labels, and their second answers."""


class Preferences:
    """Labels of comparisons.

    A labeler who labels a comparison again adds a revision; readers see the latest one that is not undone.
    AI labels are revised within their run; a human's label holds in every run. Who was asked a second time
    (`Annotators.ask_again`) gives a second answer instead, which is no label and is read by `Annotators` alone.
    """

    def __init__(self, connections: Connections, comparisons: Comparisons):
        self._connections = connections
        self._comparisons = comparisons

    def add(self, preferences: Iterable[Preference]) -> None:
        """Store preferences, each a new revision; one that its run has stored already changes nothing."""
        preferences = list(preferences)
        with self._connections.write(durable=any(p.labeler.startswith("human:") for p in preferences)) as connection:
            self._connections.lock("preferences")
            new = [p for p in preferences if not self._is_stored(connection, p)]
            # By key, so that one call that names a preference twice stores it once.
            insert(connection, "preferences", stamped({(p.id, p.run_id): p for p in new}.values()), key="revision")

    def find(
        self,
        objective: str | None = None,
        run_id: str | None = None,
        labelers: Labelers | None = None,
    ) -> list[Preference]:
        """Find live preferences, skips and abstentions included, in the order in which they were given."""
        rows = self._connections.rows(
            _FOUND,
            {"objective": objective, "run_id": run_id, "whose": f"{labelers}:" if labelers else "", "after": 0},
        )
        return [from_row(Preference, row) for row in rows]

    def page(
        self,
        size: int,
        after: int = 0,
        objective: str | None = None,
        run_id: str | None = None,
        labelers: Labelers | None = None,
    ) -> tuple[list[Preference], int]:
        """Find preferences as `find` does, from after a place on, and the place of the last one.

        The place is 0 where there are no more.
        """
        rows = self._connections.rows(
            f"{_FOUND} LIMIT :size",
            {"objective": objective, "run_id": run_id, "whose": f"{labelers}:" if labelers else ""}
            | {"after": after, "size": size + 1},
        )
        return [from_row(Preference, row) for row in rows[:size]], rows[size - 1]["revision"] if rows[size:] else 0

    def submit(self, preference: Preference, request_id: str) -> Preference:
        """Store one label, and return it once it is on the disk; the same request again changes nothing.

        Raises:
            RequestReused: the request id was used for another label.
            NotFound: the comparison is not in the store.
        """
        if not request_id:
            raise InvalidInput("request_id is empty; allowed: any text that is unique to this label", "request_id")
        with self._connections.write(durable=True) as connection:
            self._connections.lock("preferences")
            sql = "SELECT * FROM preferences WHERE request_id = ?"
            for row in connection.execute(sql, [request_id]):
                stored = from_row(Preference, row)
                if stored.model_copy(update={"repeated": False}) != preference:
                    where = f"on '{stored.comparison_id}'"
                    raise RequestReused(f"request '{request_id}' was used for another label, {where}")
                return stored
            self._comparisons.get(preference.comparison_id)
            preference = preference.model_copy(update={"repeated": self._is_second(connection, preference)})
            row = to_row(preference) | {"request_id": request_id, "created_at": now()}
            insert(connection, "preferences", [row], key="revision")
            self._comparisons.let_go(preference.labeler, preference.comparison_id, preference.objective)
            return preference

    def given(self, labeler: str, since: datetime) -> int:
        """Count this labeler's labels and second answers that stand, of those given since then."""
        sql = f"SELECT count(*) AS n FROM preferences WHERE ({_STANDING}) AND created_at >= :since"
        return self._connections.rows(sql, {"labeler": labeler, "since": utc_text(since)})[0]["n"]

    def undo(
        self, labeler: str, request_id: str = "", comparison_id: str = "", objective: str = ""
    ) -> Preference | None:
        """Take back this labeler's latest live label and return it; what it had replaced is live again.

        With a comparison, an objective or both it is the latest label of these. Nothing is deleted. With a
        `request_id`, the same request again returns the same label and undoes no other.
        """
        with self._connections.write(durable=True) as connection:
            self._connections.lock("preferences")
            done = connection.execute(
                """SELECT p.* FROM preferences AS p JOIN undos AS u ON u.preference_revision = p.revision
                WHERE u.request_id = ?""",
                [request_id],
            ).fetchone()
            if done:
                return from_row(Preference, done)
            latest = connection.execute(
                f"""SELECT * FROM preferences WHERE ({_STANDING})
                  AND (:comparison_id = '' OR comparison_id = :comparison_id)
                  AND (:objective = '' OR objective = :objective) ORDER BY revision DESC LIMIT 1""",
                {"labeler": labeler, "comparison_id": comparison_id, "objective": objective},
            ).fetchone()
            if latest is None:
                return None
            undo = {"preference_revision": latest["revision"], "request_id": request_id or None, "created_at": now()}
            insert(connection, "undos", [undo], key="preference_revision")
            return from_row(Preference, latest)

    @staticmethod
    def _is_second(connection: Connection, preference: Preference) -> bool:
        """Whether this labeler was asked again, has a label to compare with, and has not answered a second time."""
        asked = connection.execute(
            """SELECT 1 FROM label_repeats WHERE labeler = :labeler AND objective = :objective
              AND comparison_id = :comparison_id AND EXISTS (
                SELECT 1 FROM live_preferences WHERE labeler = :labeler AND objective = :objective
                  AND comparison_id = :comparison_id)
              AND NOT EXISTS (
                SELECT 1 FROM preferences WHERE labeler = :labeler AND objective = :objective
                  AND comparison_id = :comparison_id AND repeated = 1
                  AND revision NOT IN (SELECT preference_revision FROM undos))""",
            preference.model_dump(include={"labeler", "objective", "comparison_id"}),
        )
        return asked.fetchone() is not None

    @staticmethod
    def _is_stored(connection: Connection, preference: Preference) -> bool:
        sql = "SELECT revision FROM preferences WHERE id = ? AND run_id = ?"
        return connection.execute(sql, [preference.id, preference.run_id]).fetchone() is not None
