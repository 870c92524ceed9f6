"""Datasets by name: every version that was uploaded, the newest being what the name means."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rlhf_core.errors import Conflict, NotFound, Stale, suggestion
from rlhf_core.records.datasets import DATASET, Dataset, DatasetFormat, DeletedDataset
from rlhf_core.store.connection import Connections
from rlhf_core.store.row_mapping import from_row, insert, now, to_row

KNOWN_NAMED = 8
"""Datasets that an error about an unknown one names."""
_NEWEST = "number IN (SELECT max(number) FROM datasets GROUP BY id)"


class Datasets:
    """Versions of datasets; their files are artifacts."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, version: Dataset, etag: str = "") -> Dataset:
        """Store a version under its name; the same content as the newest one changes nothing.

        Raises:
            Conflict: the name is that of a dataset of another format.
            Stale: the dataset has another etag by now; without an `etag` it may be any, or none at all.
        """
        with self._connections.write(durable=True) as connection:
            self._connections.lock("dataset", version.id)
            newest = self._newest(version.id)
            # First, as who asks again after a lost answer still sends the etag of before.
            if newest is not None and (newest.format, newest.hash) == (version.format, version.hash):
                return newest
            self._check_etag(version.id, newest, etag)
            if newest is not None and newest.format != version.format:
                raise Conflict(
                    f"dataset '{version.id}' is of format {newest.format}, not {version.format}",
                    hint="take another name, or delete it first",
                )
            row = to_row(version, exclude={"number"}) | {"created_at": now()}
            insert(connection, "datasets", [row], key="number")
            return self.get(version.id)

    def get(self, dataset_id: str) -> Dataset:
        """Return the newest version of a name. Raises NotFound with names that are near."""
        found = self._newest(dataset_id)
        if found is None:
            raise self._unknown(dataset_id)
        return found

    def version(self, dataset_id: str, beginning: str) -> Dataset:
        """Return the version of a name whose hash begins so; the newest of several. Raises NotFound."""
        sql = "SELECT * FROM datasets WHERE id = ? AND hash LIKE ? ORDER BY number DESC LIMIT 1"
        rows = self._connections.rows(sql, [dataset_id, f"{beginning}%"])
        if not rows:
            self.get(dataset_id)
            raise NotFound(f"dataset '{dataset_id}' has no version with the hash '{beginning[:64]}'")
        return from_row(Dataset, rows[0])

    def by_hash(self, content_hash: str, formats: Sequence[DatasetFormat] = ()) -> Dataset | None:
        """Find the newest version with this content, whatever its name; one of `formats` before any other."""
        rows = self._connections.rows(
            """SELECT * FROM datasets WHERE hash = ?
            ORDER BY format IN (SELECT value FROM json_each(?)) DESC, number DESC LIMIT 1""",
            [content_hash, json.dumps(formats)],
        )
        return from_row(Dataset, rows[0]) if rows else None

    def page(
        self, size: int, before: int = 0, format_: DatasetFormat | None = None, versions_of: str = ""
    ) -> tuple[list[Dataset], int]:
        """Return the newest version of each name, or all versions of one, newest first, and the last one's number.

        The number is 0 at the end.
        """
        which = "id = :id" if versions_of else _NEWEST
        rows = self._connections.rows(
            f"""SELECT * FROM datasets WHERE {which} AND (:format = '' OR format = :format)
              AND (:before = 0 OR number < :before) ORDER BY number DESC LIMIT :size""",
            {"id": versions_of, "format": format_ or "", "before": before, "size": size + 1},
        )
        found = [from_row(Dataset, row) for row in rows[:size]]
        return found, found[-1].number if rows[size:] else 0

    def delete(self, dataset_id: str, etag: str = "", although_used: bool = False) -> DeletedDataset:
        """Delete a name with all its versions; what no other name has is garbage then.

        Raises:
            Conflict: runs name it, and that is not allowed for.
            Stale: it has another etag by now.
        """
        with self._connections.write(durable=True) as connection:
            self._connections.lock("dataset", dataset_id)
            self._check_etag(dataset_id, self.get(dataset_id), etag)
            runs = self.runs_naming(dataset_id)
            if runs and not although_used:
                more = f" and {len(runs) - 5} more" if len(runs) > 5 else ""
                raise Conflict(
                    f"dataset '{dataset_id}' is what runs were given: {', '.join(runs[:5])}{more}; without it they "
                    "cannot be resumed",
                    hint="delete the runs first, or ask for its deletion although it is used",
                )
            rows = connection.execute("SELECT size FROM datasets WHERE id = ?", [dataset_id]).fetchall()
            connection.execute("DELETE FROM datasets WHERE id = ?", [dataset_id])
            return DeletedDataset(dataset_id, len(rows), sum(row["size"] for row in rows), tuple(runs))

    def hold(self, references: Iterable[str]) -> None:
        """See that these versions are there, and let nobody delete them until the transaction around it ends.

        Raises: NotFound for one that has been deleted.
        """
        # In one order, so that two who hold the same ones do not wait for each other.
        for reference in sorted(set(references)):
            dataset_id, _, content_hash = reference.removeprefix(DATASET).partition("@")
            self._connections.lock("dataset", dataset_id)
            self.version(dataset_id, content_hash)

    def runs_naming(self, dataset_id: str) -> list[str]:
        """Return the runs whose configuration names a version of it, newest first."""
        named = f"{DATASET}{dataset_id}@".replace("_", r"\_")
        sql = r"SELECT id FROM runs WHERE config LIKE ? ESCAPE '\' ORDER BY number DESC"
        rows = self._connections.rows(sql, [f'%"{named}%'])
        return [row["id"] for row in rows]

    def _newest(self, dataset_id: str) -> Dataset | None:
        rows = self._connections.rows("SELECT * FROM datasets WHERE id = ? ORDER BY number DESC LIMIT 1", [dataset_id])
        return from_row(Dataset, rows[0]) if rows else None

    def _check_etag(self, dataset_id: str, newest: Dataset | None, etag: str) -> None:
        if etag and (newest is None or newest.etag != etag):
            now_ = f"its newest version is {newest.hash[:12]}" if newest else "it does not exist"
            raise Stale(
                f"dataset '{dataset_id}' has changed since etag '{etag[:100]}': {now_} now",
                hint="read it again, and send its new etag or none",
            )

    def _unknown(self, dataset_id: str) -> NotFound:
        known = [found.id for found in self.page(100)[0]]
        hint = suggestion(dataset_id, known, KNOWN_NAMED) if known else "there are no datasets yet"
        return NotFound(f"no dataset {json.dumps(dataset_id[:100], ensure_ascii=False)} in the store", hint=hint)
