"""What was asked, answered and revised: each text is stored once, whichever runs use it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from rlhf_core.errors import NotFound
from rlhf_core.records.base import Record
from rlhf_core.records.feedback import Revision
from rlhf_core.records.samples import Prompt, Sample, Split
from rlhf_core.store.connection import Connection, Connections, Row
from rlhf_core.store.exploration.terms import post
from rlhf_core.store.row_mapping import from_row, insert, now, stamped, to_row

_SAMPLES = "SELECT s.*, p.messages, p.split, p.source, p.tags FROM samples AS s JOIN prompts AS p ON p.id = s.prompt_id"


class Prompts:
    """Prompts, of one split each."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, prompts: Iterable[Prompt]) -> None:
        """Store prompts of a run; one whose id is known keeps its first split and source, and takes these tags.

        Tags are what people say of a prompt, and may be mended.
        """
        rows = stamped(prompts)
        with self._connections.write() as connection:
            insert(connection, "prompts", rows)
            connection.executemany("UPDATE prompts SET tags = :tags WHERE id = :id AND tags <> :tags", rows)

    def find(self, split: Split | None = None) -> list[Prompt]:
        """Find prompts in the order in which they were first stored."""
        rows = self._connections.rows(
            "SELECT * FROM prompts WHERE :split IS NULL OR split = :split ORDER BY rowid", {"split": split}
        )
        return [from_row(Prompt, row) for row in rows]


class Samples:
    """Prompts with an answer each."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, samples: Iterable[Sample]) -> None:
        """Store samples, and their prompts."""
        samples, time = list(samples), now()
        rows = [
            to_row(sample, exclude={"prompt"}) | {"prompt_id": sample.prompt.id, "created_at": time}
            for sample in samples
        ]
        with self._connections.write() as connection:
            insert(connection, "prompts", stamped({sample.prompt.id: sample.prompt for sample in samples}.values()))
            insert(connection, "samples", rows)
            join_runs(connection, "sample", samples)
            post(connection, (sample.id for sample in samples))

    def get(self, sample_id: str) -> Sample:
        samples = self.by_id([sample_id])
        if sample_id not in samples:
            raise NotFound(f"no sample '{sample_id}' in the store")
        return samples[sample_id]

    def by_id(self, ids: Iterable[str]) -> dict[str, Sample]:
        """Return the samples with these ids; an unknown id is left out."""
        rows = self._connections.rows(
            f"{_SAMPLES} WHERE s.id IN (SELECT value FROM json_each(?))", [json.dumps(list(ids))]
        )
        return {sample.id: sample for sample in _read(rows)}

    def of_run(self, run_id: str, stage: str | None = None, policy_version: str | None = None) -> list[Sample]:
        """Return a run's samples in the order in which it stored them; those that it shares with an earlier run too."""
        rows = self._connections.rows(
            f"""{_SAMPLES} JOIN members AS m ON m.kind = 'sample' AND m.record_id = s.id
            WHERE m.run_id = :run_id AND (:stage IS NULL OR s.stage = :stage)
              AND (:policy_version IS NULL OR s.policy_version = :policy_version) ORDER BY m.rowid""",
            {"run_id": run_id, "stage": stage, "policy_version": policy_version},
        )
        return _read(rows)


class Revisions:
    """Steps of critique and revision."""

    def __init__(self, connections: Connections):
        self._connections = connections

    def add(self, revisions: Iterable[Revision]) -> None:
        """Store steps of critique and revision; their samples must be stored.

        Raises:
            NotFound: a revision's sample is not in the store.
        """
        revisions = list(revisions)
        with self._connections.write() as connection:
            insert(connection, "revisions", stamped(revisions))
            join_runs(connection, "revision", revisions)
            post(connection, (revision.sample_id for revision in revisions))

    def of_run(self, run_id: str, samples: Iterable[str] | None = None) -> list[Revision]:
        """Return a run's steps in the order in which it stored them; only those of some samples, if these are given."""
        rows = self._connections.rows(
            """SELECT r.* FROM revisions AS r JOIN members AS m ON m.kind = 'revision' AND m.record_id = r.id
            WHERE m.run_id = :run_id
              AND (:samples = '' OR r.sample_id IN (SELECT value FROM json_each(NULLIF(:samples, ''))))
            ORDER BY m.rowid""",
            {"run_id": run_id, "samples": "" if samples is None else json.dumps(list(samples))},
        )
        return [from_row(Revision, row) for row in rows]


def join_runs(connection: Connection, kind: str, records: Sequence[Record]) -> None:
    """Note which run each record belongs to: one record, stored once, may serve several runs."""
    rows = [{"kind": kind, **record.model_dump(include={"id", "run_id"})} for record in records]
    connection.executemany(
        "INSERT INTO members (run_id, kind, record_id) VALUES (:run_id, :kind, :id) ON CONFLICT DO NOTHING", rows
    )


def _read(rows: Iterable[Row]) -> list[Sample]:
    prompts: dict[str, Prompt] = {}
    samples = []
    for row in rows:
        identity = row["prompt_id"]
        if identity not in prompts:
            prompts[identity] = from_row(Prompt, row, id=identity)
        samples.append(from_row(Sample, row, prompt=prompts[identity]))
    return samples
