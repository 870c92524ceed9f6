"""In which order a labeler is asked about pairs.

In SQLite each walk follows an index and ends with the last pair that it returns, so that a question costs as much in a
store of many pairs as in one of few; PostgreSQL may choose another way to the same pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlhf_core.seeding import UNIFORM_SLICE
from rlhf_core.store.connection import Connections
from rlhf_core.store.labelling.studies import NOT_STUDIED, STILL_ASKED

INDEXES = """
CREATE INDEX comparisons_by_draw ON comparisons (draw);
CREATE INDEX pair_information_by_priority ON pair_information (objective, priority);
CREATE INDEX preferences_by_doubt ON preferences (
  objective, (CASE WHEN abstained = 1 AND reason <> 'no_principle' THEN 0 ELSE 1 END), (abs(probability - 0.5)))
  WHERE substr(labeler, 1, 3) = 'ai:';
"""
"""As a step of the schema made them: never edited, as all steps."""
TURNS = round(1 / UNIFORM_SLICE)
"""One question of so many comes from the uniform slice."""
WAITING = f"""
(:run_id IS NULL OR EXISTS (
    SELECT 1 FROM members AS m WHERE m.run_id = :run_id AND m.kind = 'comparison' AND m.record_id = c.id))
  AND NOT EXISTS (
    SELECT 1 FROM live_preferences AS mine
    WHERE mine.comparison_id = c.id AND mine.objective = :objective AND mine.labeler = :labeler)
  AND NOT EXISTS (
    SELECT 1 FROM live_adjudications AS d WHERE d.comparison_id = c.id AND d.objective = :objective)
  AND (:uniform = 0 OR c.draw < :slice AND {NOT_STUDIED})
  AND {STILL_ASKED}
"""
"""Of a comparison `c`: this labeler is still asked about it."""
_OPEN = f"""{WAITING} AND (:leased = 0 OR NOT EXISTS (
    SELECT 1 FROM label_leases AS l WHERE l.comparison_id = c.id AND l.objective = :objective
      AND l.labeler <> :labeler AND l.expires_at > store_time(0)))"""
_UNTOLD = """NOT EXISTS (
    SELECT 1 FROM pair_information AS t WHERE t.comparison_id = {0} AND t.objective = :objective)"""
_BY_AI = """{0}.objective = :objective AND substr({0}.labeler, 1, 3) = 'ai:'
  AND (:run_id IS NULL OR {0}.run_id = :run_id)"""
_JUDGED = "(CASE WHEN {0}.abstained = 1 AND {0}.reason <> 'no_principle' THEN 0 ELSE 1 END)"
"""0 where the AI abstained."""
_DOUBT = "abs({0}.probability - 0.5), {0}.revision"
"""What the AI is least sure of first."""

_SLICE = f"SELECT c.id FROM comparisons AS c WHERE c.draw < :slice AND {_OPEN} ORDER BY c.draw LIMIT :count"
# CROSS JOIN, as SQLite then begins with what the index has in order.
_TOLD = f"""
SELECT c.id, told.priority FROM pair_information AS told CROSS JOIN comparisons AS c
WHERE c.id = told.comparison_id AND told.objective = :objective AND c.draw >= :slice AND {_OPEN}
ORDER BY told.priority DESC, told.comparison_id DESC LIMIT :count
"""
# A count where NOT EXISTS would do, of which PostgreSQL makes a join of all pairs.
_OF_AI = f"""
SELECT c.id FROM live_preferences AS p CROSS JOIN comparisons AS c
WHERE {_BY_AI.format("p")} AND {_JUDGED.format("p")} = :judged AND {_UNTOLD.format("p.comparison_id")}
  AND c.id = p.comparison_id AND c.draw >= :slice AND {_OPEN}
  AND 0 = (
    SELECT count(*) FROM live_preferences AS o WHERE o.comparison_id = p.comparison_id AND {_BY_AI.format("o")}
      AND ({_JUDGED.format("o")}, {_DOUBT.format("o")}) < ({_JUDGED.format("p")}, {_DOUBT.format("p")}))
ORDER BY {_DOUBT.format("p")} LIMIT :count
"""
_UNJUDGED = f"""
SELECT c.id FROM comparisons AS c WHERE c.draw >= :slice AND {_UNTOLD.format("c.id")} AND NOT EXISTS (
    SELECT 1 FROM live_preferences AS o WHERE o.comparison_id = c.id AND {_BY_AI.format("o")})
  AND {_OPEN} ORDER BY c.rowid LIMIT :count
"""


def next_pairs(connections: Connections, question: Mapping[str, Any], given: int, count: int) -> list[str]:
    """Return the ids of the first so many pairs that a question leads to, where so many labels are given already.

    `question` has `labeler`, `objective`, `run_id`, `uniform` and `leased`. Every fifth pair is of the uniform slice;
    where one kind ends, the other goes on.
    """
    asked = {**question, "slice": UNIFORM_SLICE, "count": count}
    by_lot = iter([row["id"] for row in connections.rows(_SLICE, asked)])
    by_worth = iter(() if question["uniform"] else _by_worth(connections, asked))
    found: list[str] = []
    for place in range(given, given + count):
        first, second = (by_lot, by_worth) if place % TURNS == TURNS - 1 else (by_worth, by_lot)
        pair = next(first, None) or next(second, None)
        if pair is None:
            break
        found.append(pair)
    return found


def _by_worth(connections: Connections, asked: Mapping[str, Any]) -> list[str]:
    """Outside the slice: by what a label tells, of which an abstention is worth 1; then by doubt; then the unjudged."""
    ranked = [(-row["priority"], row["id"]) for row in connections.rows(_TOLD, asked)]
    ranked += [(-1.0, row["id"]) for row in connections.rows(_OF_AI, {**asked, "judged": 0})]
    found = [pair for _, pair in sorted(ranked, key=lambda one: one[0])]
    for walk in (_OF_AI, _UNJUDGED):
        if len(found) < asked["count"]:
            found += [row["id"] for row in connections.rows(walk, {**asked, "judged": 1})]
    return found[: asked["count"]]
