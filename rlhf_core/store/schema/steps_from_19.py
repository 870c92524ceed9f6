"""The schema's steps from the nineteenth on: what was added to look into runs and for people's labels.

A released step is never edited: a change of the schema is a new step at the end.
"""

from __future__ import annotations

from sqlite_utils import Database

from rlhf_core.store.labelling.pair_information import TABLES as PAIR_INFORMATION
from rlhf_core.store.labelling.pair_order import INDEXES as PAIR_ORDER
from rlhf_core.store.labelling.studies import TABLES as STUDIES
from rlhf_core.store.schema.steps_to_18 import charter, run_script


@charter()
def m019_explored_samples(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE samples ADD COLUMN kl REAL;
        CREATE INDEX members_of_sample ON members (record_id) WHERE kind = 'sample';
        CREATE TABLE sample_numbers (
          number INTEGER PRIMARY KEY AUTOINCREMENT, sample_id TEXT NOT NULL UNIQUE REFERENCES samples (id)) STRICT;
        CREATE TABLE sample_terms (
          id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL, kind TEXT NOT NULL, name TEXT NOT NULL,
          detail TEXT NOT NULL) STRICT;
        CREATE INDEX sample_terms_of_run ON sample_terms (run_id, kind, name, detail);
        CREATE TABLE sample_postings (
          term INTEGER NOT NULL, place INTEGER NOT NULL, number REAL, PRIMARY KEY (term, place)) STRICT, WITHOUT ROWID;
        CREATE INDEX sample_postings_by_number ON sample_postings (term, number, place) WHERE number IS NOT NULL;
        """,
    )
    facts = """
        SELECT run_id, 'run' AS kind, '' AS name, '' AS detail, record_id AS sample_id, CAST(NULL AS REAL) AS number
          FROM members WHERE kind = 'sample'
        UNION ALL SELECT m.run_id, 'stage', s.stage, '', s.id, CAST(NULL AS REAL)
          FROM members AS m JOIN samples AS s ON s.id = m.record_id WHERE m.kind = 'sample'
        UNION ALL SELECT m.run_id, 'policy', s.policy_version, '', s.id, CAST(NULL AS REAL)
          FROM members AS m JOIN samples AS s ON s.id = m.record_id WHERE m.kind = 'sample'
        UNION ALL SELECT m.run_id, 'score', x.objective, x.reward_model, x.sample_id, x.score
          FROM members AS m JOIN scores AS x ON x.sample_id = m.record_id WHERE m.kind = 'sample'
        UNION ALL SELECT c.run_id, 'verdict', json_extract(r.critique, '$.principle_id'),
            coalesce(json_extract(r.critique, '$.verdict'), ''), r.sample_id, CAST(NULL AS REAL)
          FROM members AS c JOIN revisions AS r ON r.id = c.record_id WHERE c.kind = 'revision'"""
    db.execute("INSERT INTO sample_numbers (sample_id) SELECT id FROM samples ORDER BY rowid")
    db.execute(
        f"""INSERT INTO sample_terms (run_id, kind, name, detail)
        SELECT DISTINCT run_id, kind, name, detail FROM ({facts}) AS f"""
    )
    db.execute(
        f"""INSERT INTO sample_postings (term, place, number)
        SELECT DISTINCT t.id, n.number, f.number FROM ({facts}) AS f
        JOIN sample_terms AS t ON t.run_id = f.run_id AND t.kind = f.kind AND t.name = f.name AND t.detail = f.detail
        JOIN sample_numbers AS n ON n.sample_id = f.sample_id ORDER BY 1, 2"""
    )


@charter()
def m020_assessments(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE assessments (
          revision INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, form TEXT NOT NULL, item_id TEXT NOT NULL,
          sample_ids TEXT NOT NULL CHECK (json_valid(sample_ids)), objective TEXT NOT NULL,
          labeler TEXT NOT NULL CHECK (labeler GLOB 'human:?*'), rating INTEGER,
          ranks TEXT NOT NULL CHECK (json_valid(ranks)), spans TEXT NOT NULL CHECK (json_valid(spans)),
          all_bad INTEGER NOT NULL, skipped INTEGER NOT NULL, reason TEXT NOT NULL, constitution_hash TEXT NOT NULL,
          run_id TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE INDEX assessments_by_item ON assessments (item_id, objective, labeler, form);
        CREATE INDEX assessments_by_labeler ON assessments (labeler);
        CREATE TABLE assessment_undos (
          assessment_revision INTEGER PRIMARY KEY REFERENCES assessments (revision), created_at TEXT NOT NULL) STRICT;
        CREATE TABLE assessment_leases (
          form TEXT NOT NULL, item_id TEXT NOT NULL, objective TEXT NOT NULL, labeler TEXT NOT NULL,
          expires_at TEXT NOT NULL, PRIMARY KEY (form, item_id, objective)) STRICT, WITHOUT ROWID;
        CREATE VIEW live_assessments AS
          SELECT * FROM assessments AS a WHERE revision = (
            SELECT max(revision) FROM assessments AS b
            WHERE b.item_id = a.item_id AND b.objective = a.objective AND b.labeler = a.labeler AND b.form = a.form
              AND b.revision NOT IN (SELECT assessment_revision FROM assessment_undos));
        """,
    )


@charter()
def m021_workers_heard_of(db: Database) -> None:
    run_script(db, "ALTER TABLE workers ADD COLUMN seen_at TEXT NOT NULL DEFAULT ''")


@charter()
def m022_studies(db: Database) -> None:
    run_script(db, STUDIES)


@charter()
def m023_pair_information(db: Database) -> None:
    run_script(db, PAIR_INFORMATION)


@charter()
def m024_adjudication(db: Database) -> None:
    run_script(
        db,
        """
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
        """,
    )


@charter()
def m025_pair_order(db: Database) -> None:
    run_script(db, PAIR_ORDER)


@charter()
def m026_staleness(db: Database) -> None:
    run_script(db, "ALTER TABLE samples ADD COLUMN staleness INTEGER")


@charter()
def m027_study_ratings(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE study_questions_by_form (
          study_id TEXT NOT NULL REFERENCES studies (id), form TEXT NOT NULL, objective TEXT NOT NULL,
          wanted INTEGER NOT NULL, closed_at TEXT NOT NULL, closed_because TEXT NOT NULL, created_at TEXT NOT NULL,
          PRIMARY KEY (study_id, form, objective)) STRICT, WITHOUT ROWID;
        INSERT INTO study_questions_by_form
          SELECT study_id, 'pairs', objective, labels_per_pair, closed_at, closed_because, created_at
          FROM study_questions;
        DROP TABLE study_questions;
        ALTER TABLE study_questions_by_form RENAME TO study_questions;
        CREATE TABLE study_replies (
          study_id TEXT NOT NULL REFERENCES studies (id), policy TEXT NOT NULL, prompt_id TEXT NOT NULL,
          sample_id TEXT NOT NULL REFERENCES samples (id), place INTEGER NOT NULL, created_at TEXT NOT NULL,
          PRIMARY KEY (study_id, policy, prompt_id)) STRICT, WITHOUT ROWID;
        CREATE INDEX study_replies_by_sample ON study_replies (sample_id);
        """,
    )


@charter()
def m028_panels(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE preferences ADD COLUMN opinions TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(opinions));
        ALTER TABLE calibrations ADD COLUMN panel TEXT NOT NULL DEFAULT '';
        ALTER TABLE gates ADD COLUMN panel TEXT NOT NULL DEFAULT '';
        ALTER TABLE gates ADD COLUMN model TEXT NOT NULL DEFAULT '';
        ALTER TABLE gates ADD COLUMN protocol TEXT NOT NULL DEFAULT '';
        ALTER TABLE gates ADD COLUMN template_hash TEXT NOT NULL DEFAULT '';
        ALTER TABLE gates ADD COLUMN weight REAL NOT NULL DEFAULT 0;
        """,
    )


@charter()
def m029_nul_in_json(db: Database) -> None:
    """Change nothing here; a step makes PostgreSQL's functions anew, and those of older stores could not read NUL."""


@charter()
def m030_identity(db: Database) -> None:
    run_script(
        db,
        "CREATE TABLE store_identity (one INTEGER PRIMARY KEY CHECK (one = 1), id TEXT NOT NULL) STRICT;",
    )
