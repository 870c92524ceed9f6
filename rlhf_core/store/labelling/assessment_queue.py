"""Which replies a person should rate, rank or look through next, and who holds them.

Rated and looked through are the replies of stored pairs; ranked are prompts to which there are several replies. The
order is that of ids of samples or prompts, which are hashes: random, fixed, and with no regard to what the AI made of
them. Of a study's run those replies are rated that its plan says, held-out prompts included, in the study's own order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rlhf_core.records.assessments import Form
from rlhf_core.records.samples import Sample
from rlhf_core.seeding import derived_seed
from rlhf_core.store.connection import Connections
from rlhf_core.store.labelling.studies import NOT_STUDIED
from rlhf_core.store.labelling.study_ratings import STILL_RATED
from rlhf_core.store.samples import Samples

FEWEST_RANKED, MOST_RANKED = 3, 5
"""Replies of one ranking; two are a pair."""
MOST_COUNTED = 1_000

_OF_RUN = "EXISTS (SELECT 1 FROM members AS o WHERE o.run_id = :run_id AND o.kind = 'sample' AND o.record_id = s.id)"
_RUN_SAMPLES = "members AS m JOIN samples AS r ON m.run_id = :run_id AND m.kind = 'sample' AND r.id = m.record_id"
_RUN_PROMPTS = f"""{_RUN_SAMPLES} JOIN prompts AS p ON p.id = r.prompt_id AND NOT EXISTS (
  SELECT 1 FROM samples AS s WHERE s.prompt_id = r.prompt_id AND s.id < r.id AND {_OF_RUN})"""
"""Each by the first of its samples, so that the index of members gives an order and few rows are read."""
_REPLIES = """
SELECT r.id AS id FROM {source}
WHERE (EXISTS (SELECT 1 FROM comparisons AS c WHERE c.a_id = r.id AND {not_studied})
    OR EXISTS (SELECT 1 FROM comparisons AS c WHERE c.b_id = r.id AND {not_studied}))
  AND r.response <> '' AND EXISTS (SELECT 1 FROM prompts AS p WHERE p.id = r.prompt_id AND p.split = 'train')
  AND {open}
ORDER BY {order} LIMIT :count
"""
_PROMPTS = """
SELECT p.id AS id FROM {source}
WHERE p.split = 'train' AND {open}
  AND (SELECT count(DISTINCT s.response) FROM samples AS s WHERE s.prompt_id = p.id AND s.response <> '' AND {of_run}
    AND {apart}) >= :fewest
ORDER BY {order} LIMIT :count
"""
_STUDIED = """
SELECT DISTINCT t.sample_id AS id, t.place FROM study_replies AS t
WHERE t.study_id = :run_id AND {still_rated} AND {open}
ORDER BY t.place, t.sample_id LIMIT :count
"""
_RANKED = """
SELECT min(s.id) AS id FROM samples AS s WHERE s.prompt_id = :item AND s.response <> '' AND {of_run} AND {apart}
GROUP BY s.response ORDER BY min(s.id) LIMIT :most
"""
_APART = """NOT EXISTS (
    SELECT 1 FROM study_pairs AS t JOIN comparisons AS c ON c.id = t.comparison_id
    WHERE t.prompt_id = s.prompt_id AND s.id IN (c.a_id, c.b_id))"""
"""Replies that measure policies are not asked about here: what is trained on would measure nothing."""
_OPEN = """NOT EXISTS (
    SELECT 1 FROM live_assessments AS mine WHERE mine.item_id = {item} AND mine.form = :form
      AND mine.objective = :objective AND mine.labeler = :labeler)
  AND (:leased = 0 OR NOT EXISTS (
    SELECT 1 FROM assessment_leases AS l WHERE l.item_id = {item} AND l.form = :form AND l.objective = :objective
      AND l.labeler <> :labeler AND l.expires_at > store_time(0)))"""
_LEASE = """
INSERT INTO assessment_leases (form, item_id, objective, labeler, expires_at)
VALUES (:form, :item, :objective, :labeler, store_time(:seconds))
ON CONFLICT (form, item_id, objective) DO UPDATE SET labeler = excluded.labeler, expires_at = excluded.expires_at
"""


class Item(NamedTuple):
    """What is assessed at once: one reply, or several to one prompt."""

    id: str
    """Of the sample, or of the prompt."""
    samples: Sequence[Sample]


class AssessmentQueue:
    """What waits for people, in each form."""

    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def upcoming(
        self, labeler: str, objective: str, form: Form, run_id: str = "", count: int = 1, lease_seconds: float = 0
    ) -> list[Item]:
        """Return the first so many replies that this labeler has not assessed.

        With a lease they are this labeler's until it expires or they are assessed: who asks with one gets others. The
        replies of a ranking stand in an order that is drawn for the labeler.
        """
        asked = {"labeler": labeler, "objective": objective, "form": form, "run_id": run_id}
        asked |= {"count": count, "leased": lease_seconds > 0}
        if not lease_seconds:
            return self._items(asked, self._waiting(asked))
        with self._connections.write() as connection:
            # Two who ask at the same time must not be given the same.
            self._connections.lock("assessment leases", objective)
            found = self._waiting(asked)
            connection.execute("DELETE FROM assessment_leases WHERE expires_at <= store_time(0)")
            lease = {"form": form, "objective": objective, "labeler": labeler, "seconds": lease_seconds}
            connection.executemany(_LEASE, [lease | {"item": identity} for identity in found])
        return self._items(asked, found)

    def waiting(self, labeler: str, objective: str, form: Form, run_id: str = "") -> int:
        """Count the replies that this labeler has not assessed, up to `MOST_COUNTED`."""
        asked = {"labeler": labeler, "objective": objective, "form": form, "run_id": run_id}
        return len(self._waiting(asked | {"count": MOST_COUNTED, "leased": False}))

    def let_go(self, labeler: str, form: Form, item_id: str, objective: str) -> None:
        """End this labeler's lease, where there is one."""
        sql = "DELETE FROM assessment_leases WHERE form = ? AND item_id = ? AND objective = ? AND labeler = ?"
        with self._connections.write() as connection:
            connection.execute(sql, [form, item_id, objective, labeler])

    def _waiting(self, asked: Mapping[str, Any]) -> list[str]:
        of_run, within = (_OF_RUN, True) if asked["run_id"] else ("1 = 1", False)
        if asked["form"] == "rating" and self._is_study(asked["run_id"]):
            sql = _STUDIED.format(still_rated=STILL_RATED, open=_OPEN.format(item="t.sample_id"))
        elif asked["form"] == "ranking":
            source, order = (_RUN_PROMPTS, "m.record_id") if within else ("prompts AS p", "p.id")
            sql = _PROMPTS.format(
                source=source, order=order, of_run=of_run, apart=_APART, open=_OPEN.format(item="p.id")
            )
            asked = {**asked, "fewest": FEWEST_RANKED}
        else:
            source, order = (_RUN_SAMPLES, "m.record_id") if within else ("samples AS r", "r.id")
            sql = _REPLIES.format(source=source, order=order, not_studied=NOT_STUDIED, open=_OPEN.format(item="r.id"))
        return [row["id"] for row in self._connections.rows(sql, asked)]

    def _is_study(self, run_id: str) -> bool:
        return bool(run_id and self._connections.rows("SELECT 1 AS one FROM studies WHERE id = ?", [run_id]))

    def _items(self, asked: Mapping[str, Any], found: Sequence[str]) -> list[Item]:
        if asked["form"] != "ranking":
            samples = self._samples.by_id(found)
            return [Item(identity, [samples[identity]]) for identity in found]
        of_run = _OF_RUN if asked["run_id"] else "1 = 1"
        return [self._ranking(identity, asked, of_run) for identity in found]

    def _ranking(self, prompt_id: str, asked: Mapping[str, Any], of_run: str) -> Item:
        given = {"item": prompt_id, "most": MOST_RANKED, "run_id": asked["run_id"]}
        ids = [row["id"] for row in self._connections.rows(_RANKED.format(of_run=of_run, apart=_APART), given)]
        samples = self._samples.by_id(ids)
        drawn = sorted(ids, key=lambda sample: derived_seed("ranking", asked["labeler"], prompt_id, sample))
        return Item(prompt_id, [samples[identity] for identity in drawn])
