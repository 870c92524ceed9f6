"""A run's samples found by what they are: each condition is a range of the index, and the rarest leads.

Conditions that few samples meet are read whole, and their sets intersected; the others are looked up for what is left.
Where none is rare, the search goes through the samples of one in their order. It looks on for a limited time, as texts
are read as they stand, and says where the next one goes on: no question waits for a scan of the whole store.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rlhf_core.records.exploration import Between, FoundSample, SampleFilter, SamplePage, Term
from rlhf_core.records.feedback import Critique, Verdict
from rlhf_core.records.models import Score
from rlhf_core.store.connection import Connections, Row
from rlhf_core.store.row_mapping import from_row
from rlhf_core.store.samples import Samples

RARE = 2_000
"""Samples up to which a condition is read whole, and matches are counted."""
CHUNK = 500
"""Samples that are looked at together."""
LOOK_SECONDS = 0.15
"""How long a search looks on; the samples at hand are always finished."""


class _Condition(NamedTuple):
    """One thing that samples must be: have one of these terms of the index, with a number in the range."""

    terms: tuple[int, ...]
    range: Between = Between()


class _Look(NamedTuple):
    """Places of samples that met all; and the last one looked at, where the time was up before the end."""

    met: list[int]
    cut_at: int = 0


class SampleSearch:
    """Samples of runs by stage, version, score, KL, verdict, principle and text."""

    def __init__(self, connections: Connections, samples: Samples):
        self._connections = connections
        self._samples = samples

    def terms(self, run_id: str) -> list[Term]:
        """Count all by which a run's samples can be found, up to `RARE`."""
        rows = self._connections.rows(
            """SELECT t.kind, t.name, t.detail,
              (SELECT count(*) FROM (SELECT 1 AS one FROM sample_postings WHERE term = t.id LIMIT :most) AS few) AS n,
              (SELECT min(number) FROM sample_postings WHERE term = t.id AND number IS NOT NULL) AS low,
              (SELECT max(number) FROM sample_postings WHERE term = t.id AND number IS NOT NULL) AS high
            FROM sample_terms AS t WHERE t.run_id = :run ORDER BY t.kind, t.name, t.detail""",
            {"run": run_id, "most": RARE + 1},
        )
        found: dict[tuple[str, str, str], Term] = {}
        for row in rows:
            key = row["kind"], row["name"], row["detail"]
            count = row["n"] + (found[key].samples if key in found else 0)
            found[key] = from_row(Term, row, samples=min(count, RARE), exact=count <= RARE)
        return list(found.values())

    def find(self, run_id: str, wanted: SampleFilter, size: int, after: int = 0) -> SamplePage:
        """Find so many samples from after a place on that are all that is wanted, in the order of storing."""
        until = time.monotonic() + LOOK_SECONDS
        conditions = self._conditions(run_id, wanted)
        if not all(condition.terms for condition in conditions):
            return SamplePage()
        rare, dense = [], []
        for condition in conditions:
            places = self._whole(condition)
            if len(places) > RARE:
                dense.append(condition)
            else:
                rare.append(places)
        if not rare:
            return self._through(dense, wanted.text, size, after, until)
        beyond, before = _parted(sorted(set.intersection(*rare)), after)
        found = self._look(beyond, dense, wanted.text, until)
        seen = _Look([]) if found.cut_at else self._look(before, dense, wanted.text, until)
        page, more = found.met[:size], len(found.met) > size
        return SamplePage(
            found=self._found(page),
            matches=len(found.met) + len(seen.met),
            exact=not (found.cut_at or seen.cut_at),
            after=page[-1] if more else found.cut_at,
            cut=bool(found.cut_at) and not more,
        )

    def _through(self, dense: Sequence[_Condition], text: str, size: int, after: int, until: float) -> SamplePage:
        """As `find` where no condition is rare: through all samples of the one whose samples are farthest apart."""
        leader = max(dense, key=lambda condition: self._next(condition, after)[1] or float("inf"))
        others = [condition for condition in dense if condition is not leader]
        met: list[int] = []
        end, cut = after, False
        while len(met) <= size and not cut:
            chunk, end = self._next(leader, end)
            met += self._look(chunk, others, text, float("inf")).met
            if not end:
                break
            cut = time.monotonic() > until
        page, more = met[:size], len(met) > size
        unfiltered = not others and not text
        return SamplePage(
            found=self._found(page),
            matches=RARE if unfiltered else len(met),
            exact=not (unfiltered or more or end or after),
            after=page[-1] if more else end,
            cut=cut and not more,
        )

    def _look(self, places: Sequence[int], conditions: Sequence[_Condition], text: str, until: float) -> _Look:
        met: list[int] = []
        for start in range(0, len(places), CHUNK):
            chunk = places[start : start + CHUNK]
            for condition in conditions:
                chunk = self._meeting(chunk, condition)
            met += self._with_text(chunk, text.casefold()) if text else chunk
            if time.monotonic() > until and start + CHUNK < len(places):
                return _Look(met, places[start + CHUNK - 1])
        return _Look(met)

    def _conditions(self, run_id: str, wanted: SampleFilter) -> list[_Condition]:
        """What is wanted, in terms of the run: one that the run does not have leaves a condition without terms."""
        asked = {"kind": "", "name": "", "detail": None}
        conditions = [
            _Condition(self._terms(run_id, asked | {"kind": kind, "name": name}), range_)
            for kind, name, range_ in (
                ("stage", wanted.stage, Between()),
                ("policy", wanted.policy_version, Between()),
                ("score", wanted.objective, wanted.score),
            )
            if name
        ]
        if not wanted.kl.is_open:
            conditions.append(_Condition(self._terms(run_id, asked | {"kind": "kl"}), wanted.kl))
        if wanted.principle_id or wanted.verdict:
            critique = {"kind": "verdict", "name": wanted.principle_id or None, "detail": wanted.verdict}
            conditions.append(_Condition(self._terms(run_id, critique)))
        return conditions or [_Condition(self._terms(run_id, asked | {"kind": "run"}))]

    def _terms(self, run_id: str, asked: dict[str, str | None]) -> tuple[int, ...]:
        rows = self._connections.rows(
            """SELECT id FROM sample_terms WHERE run_id = :run AND kind = :kind
              AND (:name IS NULL OR name = :name) AND (:detail IS NULL OR detail = :detail)""",
            {"run": run_id, **asked},
        )
        return tuple(row["id"] for row in rows)

    def _whole(self, condition: _Condition) -> set[int]:
        """Places of the samples that meet it, or one more than are rare."""
        where, range_ = _of(condition)
        # The limit comes first, so that it is found by number where there is a range, and not in order of place.
        sql = f"SELECT DISTINCT place FROM sample_postings WHERE {where} LIMIT :most"
        return {row["place"] for row in self._connections.rows(sql, {**range_, "most": RARE + 1})}

    def _next(self, condition: _Condition, after: int) -> tuple[list[int], int]:
        """Places of those after a place that meet it, in order; and the last of them, or 0 where there are no more."""
        found: set[int] = set()
        ends: list[int] = []
        for term in condition.terms:
            where, range_ = _of(_Condition((term,), condition.range))
            sql = f"SELECT place FROM sample_postings WHERE {where} AND place > :after ORDER BY place LIMIT :size"
            rows = self._connections.rows(sql, {**range_, "after": after, "size": CHUNK})
            found.update(row["place"] for row in rows)
            ends += [rows[-1]["place"]] if len(rows) == CHUNK else []
        # Beyond the end of one term's chunk there may be more of it.
        return sorted(place for place in found if not ends or place <= min(ends)), min(ends, default=0)

    def _meeting(self, places: Sequence[int], condition: _Condition) -> list[int]:
        where, range_ = _of(condition)
        sql = f"""SELECT DISTINCT place FROM sample_postings WHERE {where}
          AND place IN (SELECT CAST(value AS BIGINT) FROM json_each(:places)) ORDER BY place"""
        return [row["place"] for row in self._connections.rows(sql, {**range_, "places": json.dumps(places)})]

    def _with_text(self, places: Sequence[int], text: str) -> list[int]:
        rows = self._connections.rows(
            """SELECT n.number, s.response, p.messages FROM sample_numbers AS n
            JOIN samples AS s ON s.id = n.sample_id JOIN prompts AS p ON p.id = s.prompt_id
            WHERE n.number IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) ORDER BY n.number""",
            [json.dumps(places)],
        )
        return [row["number"] for row in rows if text in row["response"].casefold() or text in _asked(row)]

    def _found(self, places: Sequence[int]) -> tuple[FoundSample, ...]:
        rows = self._connections.rows(
            """SELECT number, sample_id FROM sample_numbers
            WHERE number IN (SELECT CAST(value AS BIGINT) FROM json_each(?)) ORDER BY number""",
            [json.dumps(places)],
        )
        numbers = {row["sample_id"]: row["number"] for row in rows}
        ids = list(numbers)
        samples, scores, verdicts = self._samples.by_id(ids), self._scores(ids), self._verdicts(ids)
        return tuple(
            FoundSample(
                sample=samples[name],
                place=numbers[name],
                scores=tuple(score for score in scores if score.sample_id == name),
                verdicts=tuple((principle, verdict) for of, principle, verdict in verdicts if of == name),
            )
            for name in ids
        )

    def _scores(self, ids: Iterable[str]) -> list[Score]:
        sql = "SELECT * FROM scores WHERE sample_id IN (SELECT value FROM json_each(?)) ORDER BY objective, rowid"
        return [from_row(Score, row) for row in self._connections.rows(sql, [json.dumps(list(ids))])]

    def _verdicts(self, ids: Iterable[str]) -> list[tuple[str, str, Verdict | None]]:
        sql = """SELECT sample_id, critique FROM revisions
            WHERE sample_id IN (SELECT value FROM json_each(?)) ORDER BY round, rowid"""
        rows = self._connections.rows(sql, [json.dumps(list(ids))])
        read = ((row["sample_id"], Critique.model_validate_json(row["critique"])) for row in rows)
        return [(sample_id, critique.principle_id, critique.verdict) for sample_id, critique in read]


def _of(condition: _Condition) -> tuple[str, dict[str, float]]:
    """The condition in SQL; the terms are numbers of the store's own."""
    where = f"term IN ({', '.join(map(str, condition.terms))})"
    ends = {"low": condition.range.low, "high": condition.range.high}
    given = {name: end for name, end in ends.items() if end is not None}
    signs = {"low": ">=", "high": "<="}
    return " AND ".join([where, *(f"number {signs[name]} :{name}" for name in given)]), given


def _parted(places: Sequence[int], after: int) -> tuple[list[int], list[int]]:
    return [place for place in places if place > after], [place for place in places if place <= after]


def _asked(row: Row) -> str:
    return "\n".join(message["content"] for message in json.loads(row["messages"])).casefold()
