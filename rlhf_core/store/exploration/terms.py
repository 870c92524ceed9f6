"""By what samples are found: for each run an inverted index of its samples' stages, versions, KL, scores and verdicts.

A term is one such thing of one run, and its postings are the samples that have it, by a number that each sample has in
the store; a score or a KL is beside it. So whatever is asked for is a range of one index, however large the run is.
Two transactions that write the same new term at the same time both make it, rather than wait for each other: then there
are two of a kind, which together have the samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from rlhf_core.store.connection import Connection

_FACTS = """
WITH own AS (
  SELECT m.run_id, s.id AS sample_id, s.stage, s.policy_version, s.kl
  FROM members AS m JOIN samples AS s ON s.id = m.record_id
  WHERE m.kind = 'sample' AND m.record_id IN (SELECT value FROM json_each(:ids))),
facts AS (
  SELECT run_id, 'run' AS kind, '' AS name, '' AS detail, sample_id, CAST(NULL AS REAL) AS number FROM own
  UNION ALL SELECT run_id, 'stage', stage, '', sample_id, CAST(NULL AS REAL) FROM own
  UNION ALL SELECT run_id, 'policy', policy_version, '', sample_id, CAST(NULL AS REAL) FROM own
  UNION ALL SELECT run_id, 'kl', '', '', sample_id, kl FROM own WHERE kl IS NOT NULL
  UNION ALL SELECT own.run_id, 'score', x.objective, x.reward_model, own.sample_id, x.score
    FROM own JOIN scores AS x ON x.sample_id = own.sample_id
  UNION ALL SELECT own.run_id, 'verdict', json_extract(r.critique, '$.principle_id'),
      coalesce(json_extract(r.critique, '$.verdict'), ''), own.sample_id, CAST(NULL AS REAL)
    FROM own JOIN revisions AS r ON r.sample_id = own.sample_id
      JOIN members AS c ON c.run_id = own.run_id AND c.kind = 'revision' AND c.record_id = r.id)
"""
_NUMBERS = """
INSERT INTO sample_numbers (sample_id) SELECT id FROM samples WHERE id IN (SELECT value FROM json_each(:ids))
  AND id NOT IN (SELECT sample_id FROM sample_numbers WHERE sample_id IN (SELECT value FROM json_each(:ids)))
ORDER BY rowid ON CONFLICT DO NOTHING
"""
_TERMS = f"""{_FACTS}
INSERT INTO sample_terms (run_id, kind, name, detail) SELECT DISTINCT run_id, kind, name, detail FROM facts AS f
WHERE NOT EXISTS (SELECT 1 FROM sample_terms AS t
  WHERE t.run_id = f.run_id AND t.kind = f.kind AND t.name = f.name AND t.detail = f.detail)
"""
_POSTINGS = f"""{_FACTS}
INSERT INTO sample_postings (term, place, number) SELECT min(t.id), n.number, f.number FROM facts AS f
JOIN sample_terms AS t ON t.run_id = f.run_id AND t.kind = f.kind AND t.name = f.name AND t.detail = f.detail
JOIN sample_numbers AS n ON n.sample_id = f.sample_id
WHERE true GROUP BY f.run_id, f.kind, f.name, f.detail, n.number, f.number ON CONFLICT DO NOTHING
"""


def post(connection: Connection, sample_ids: Iterable[str]) -> None:
    """Bring the index up to date on these samples, in every run that counts them; what it has already stays."""
    ids = {"ids": json.dumps(list(dict.fromkeys(sample_ids)))}
    for statement in (_NUMBERS, _TERMS, _POSTINGS):
        connection.execute(statement, ids)
