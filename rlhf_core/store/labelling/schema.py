"""What people's labels need of the schema, as the steps of `migrations` apply it. A released step is never edited."""

from __future__ import annotations

PEOPLE_AT_WORK = """
CREATE TABLE label_leases (
  comparison_id TEXT NOT NULL, objective TEXT NOT NULL, labeler TEXT NOT NULL, expires_at TEXT NOT NULL,
  PRIMARY KEY (comparison_id, objective)) STRICT, WITHOUT ROWID;
ALTER TABLE preferences ADD COLUMN swapped INTEGER;
"""
"""Pairs that are held for a labeler, and the side on which each reply was seen."""

ADJUDICATION = """
ALTER TABLE preferences ADD COLUMN repeated INTEGER NOT NULL DEFAULT 0;
DROP VIEW IF EXISTS live_preferences;
CREATE VIEW live_preferences AS
  SELECT * FROM preferences AS p WHERE repeated = 0 AND revision = (
    SELECT max(revision) FROM preferences AS q
    WHERE q.comparison_id = p.comparison_id AND q.objective = p.objective AND q.labeler = p.labeler
      AND (q.labeler GLOB 'human:*' OR q.run_id = p.run_id) AND q.repeated = 0
      AND q.revision NOT IN (SELECT preference_revision FROM undos));
CREATE TABLE label_repeats (
  labeler TEXT NOT NULL, objective TEXT NOT NULL, comparison_id TEXT NOT NULL, created_at TEXT NOT NULL,
  PRIMARY KEY (labeler, objective, comparison_id)) STRICT, WITHOUT ROWID;
CREATE TABLE adjudications (
  number INTEGER PRIMARY KEY AUTOINCREMENT, comparison_id TEXT NOT NULL REFERENCES comparisons (id),
  objective TEXT NOT NULL, choice TEXT NOT NULL, reason TEXT NOT NULL, adjudicated_by TEXT NOT NULL,
  withdrawn INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE INDEX adjudications_by_subject ON adjudications (comparison_id, objective, number);
CREATE INDEX adjudications_by_objective ON adjudications (objective);
CREATE VIEW live_adjudications AS
  SELECT * FROM adjudications AS d WHERE withdrawn = 0 AND number = (
    SELECT max(number) FROM adjudications AS e
    WHERE e.comparison_id = d.comparison_id AND e.objective = d.objective);
CREATE TABLE annotator_changes (
  number INTEGER PRIMARY KEY AUTOINCREMENT, labeler TEXT NOT NULL, standing TEXT NOT NULL,
  reason TEXT NOT NULL, changed_by TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
CREATE INDEX annotator_changes_by_labeler ON annotator_changes (labeler, number);
"""
"""Second answers beside labels, what reviewers decided, and what they said of people."""
