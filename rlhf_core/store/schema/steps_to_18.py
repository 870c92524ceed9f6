"""The schema's first eighteen steps; those that follow are in `steps_from_19`.

A released step is never edited: a change of the schema is a new step at the end.
"""

from __future__ import annotations

from sqlite_utils import Database, Migrations

from rlhf_core.seeding import uniform_draw
from rlhf_core.store.row_mapping import bytes_hash

charter = Migrations("charter")


@charter()
def m001_texts(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE constitutions (
          hash TEXT PRIMARY KEY, constitution_id TEXT NOT NULL, text TEXT NOT NULL, source TEXT NOT NULL,
          created_at TEXT NOT NULL) STRICT;
        CREATE TABLE prompts (
          id TEXT PRIMARY KEY, messages TEXT NOT NULL CHECK (json_valid(messages)), split TEXT NOT NULL,
          source TEXT NOT NULL, tags TEXT NOT NULL CHECK (json_valid(tags)), created_at TEXT NOT NULL) STRICT;
        CREATE TABLE samples (
          id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL REFERENCES prompts (id), response TEXT NOT NULL,
          policy_version TEXT NOT NULL, finished INTEGER NOT NULL, tokens INTEGER NOT NULL, logprob REAL NOT NULL,
          seed INTEGER NOT NULL, run_id TEXT NOT NULL, stage TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE revisions (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, sample_id TEXT NOT NULL REFERENCES samples (id),
          round INTEGER NOT NULL, critique TEXT NOT NULL CHECK (json_valid(critique)), before TEXT NOT NULL,
          after TEXT NOT NULL, accepted INTEGER NOT NULL, reason TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE comparisons (
          id TEXT PRIMARY KEY, a_id TEXT NOT NULL REFERENCES samples (id), b_id TEXT NOT NULL REFERENCES samples (id),
          run_id TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE members (
          run_id TEXT NOT NULL, kind TEXT NOT NULL, record_id TEXT NOT NULL,
          UNIQUE (run_id, kind, record_id)) STRICT;
        """,
    )


@charter()
def m002_labels(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE votes (
          id TEXT PRIMARY KEY, comparison_id TEXT NOT NULL REFERENCES comparisons (id), principle_id TEXT NOT NULL,
          principle_hash TEXT NOT NULL, template_hash TEXT NOT NULL, constitution_hash TEXT NOT NULL,
          judge TEXT NOT NULL, swapped INTEGER NOT NULL, logprob_a REAL NOT NULL, logprob_b REAL NOT NULL,
          label_mass REAL NOT NULL, run_id TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE INDEX votes_of_comparison ON votes (comparison_id);
        CREATE TABLE preferences (
          revision INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,
          comparison_id TEXT NOT NULL REFERENCES comparisons (id), objective TEXT NOT NULL,
          labeler TEXT NOT NULL CHECK (labeler GLOB 'ai:?*' OR labeler GLOB 'human:?*'), choice TEXT NOT NULL,
          probability REAL NOT NULL, abstained INTEGER NOT NULL, reason TEXT NOT NULL, gap REAL NOT NULL,
          constitution_hash TEXT NOT NULL, run_id TEXT NOT NULL, weight REAL NOT NULL, request_id TEXT UNIQUE,
          created_at TEXT NOT NULL) STRICT;
        CREATE INDEX preferences_by_id ON preferences (id);
        CREATE INDEX preferences_by_subject ON preferences (comparison_id, objective, labeler);
        CREATE INDEX preferences_by_labeler ON preferences (labeler);
        CREATE TABLE undos (
          preference_revision INTEGER PRIMARY KEY REFERENCES preferences (revision),
          request_id TEXT UNIQUE, created_at TEXT NOT NULL) STRICT;
        CREATE VIEW live_preferences AS
          SELECT * FROM preferences AS p WHERE revision = (
            SELECT max(revision) FROM preferences AS q
            WHERE q.comparison_id = p.comparison_id AND q.objective = p.objective AND q.labeler = p.labeler
              AND (q.labeler GLOB 'human:*' OR q.run_id = p.run_id)
              AND q.revision NOT IN (SELECT preference_revision FROM undos));
        """,
    )


@charter()
def m003_models(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE policy_versions (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, stage TEXT NOT NULL, parent TEXT NOT NULL,
          base_model TEXT NOT NULL, artifact TEXT NOT NULL, step INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE reward_models (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, objective TEXT NOT NULL, base_model TEXT NOT NULL,
          artifact TEXT NOT NULL, constitution_hash TEXT NOT NULL, pairs INTEGER NOT NULL,
          human_pairs INTEGER NOT NULL, accuracy REAL NOT NULL, accuracy_n INTEGER NOT NULL,
          created_at TEXT NOT NULL) STRICT;
        CREATE TABLE norm_packs (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, policy_version TEXT NOT NULL,
          objectives TEXT NOT NULL CHECK (json_valid(objectives)),
          reward_models TEXT NOT NULL CHECK (json_valid(reward_models)),
          mean TEXT NOT NULL CHECK (json_valid(mean)), sd TEXT NOT NULL CHECK (json_valid(sd)),
          quantiles TEXT NOT NULL CHECK (json_valid(quantiles)),
          correlation TEXT NOT NULL CHECK (json_valid(correlation)),
          length_slope TEXT NOT NULL CHECK (json_valid(length_slope)), mean_length REAL NOT NULL,
          n INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE scores (
          sample_id TEXT NOT NULL REFERENCES samples (id), objective TEXT NOT NULL, reward_model TEXT NOT NULL,
          score REAL NOT NULL CHECK (abs(score) < 9e999), spread REAL NOT NULL CHECK (abs(spread) < 9e999),
          created_at TEXT NOT NULL, UNIQUE (sample_id, reward_model, objective)) STRICT;
        CREATE TABLE gold_scores (
          sample_id TEXT NOT NULL REFERENCES samples (id), kind TEXT NOT NULL,
          score REAL NOT NULL CHECK (abs(score) < 9e999), created_at TEXT NOT NULL, UNIQUE (sample_id, kind)) STRICT;
        """,
    )


@charter()
def m004_runs(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE runs (
          number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, state TEXT NOT NULL,
          config TEXT NOT NULL CHECK (json_valid(config)), constitution_hash TEXT NOT NULL,
          stage TEXT NOT NULL DEFAULT '', step INTEGER NOT NULL DEFAULT 0, steps INTEGER NOT NULL DEFAULT 0,
          error TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 0, fence INTEGER NOT NULL DEFAULT 0,
          created_at TEXT NOT NULL, updated_at TEXT NOT NULL, request_id TEXT UNIQUE,
          requested TEXT NOT NULL DEFAULT '', lease_owner TEXT NOT NULL DEFAULT '',
          lease_until TEXT NOT NULL DEFAULT '') STRICT;
        CREATE INDEX runs_by_state ON runs (state, number);
        CREATE TABLE run_events (
          run_id TEXT NOT NULL REFERENCES runs (id), sequence INTEGER NOT NULL, kind TEXT NOT NULL,
          body TEXT NOT NULL CHECK (json_valid(body)), created_at TEXT NOT NULL,
          PRIMARY KEY (run_id, sequence)) STRICT, WITHOUT ROWID;
        CREATE TABLE stage_results (
          run_id TEXT NOT NULL REFERENCES runs (id), stage TEXT NOT NULL, policy_version TEXT NOT NULL,
          reward_models TEXT NOT NULL CHECK (json_valid(reward_models)), norm_pack TEXT NOT NULL,
          counts TEXT NOT NULL CHECK (json_valid(counts)), numbers TEXT NOT NULL CHECK (json_valid(numbers)),
          seconds REAL NOT NULL, created_at TEXT NOT NULL, UNIQUE (run_id, stage)) STRICT;
        CREATE TABLE checkpoints (
          run_id TEXT NOT NULL REFERENCES runs (id), stage TEXT NOT NULL, step INTEGER NOT NULL,
          artifact TEXT NOT NULL, created_at TEXT NOT NULL, UNIQUE (run_id, stage, step)) STRICT;
        """,
    )


@charter()
def m005_protocols(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE votes ADD COLUMN protocol TEXT NOT NULL DEFAULT 'logprobs';
        ALTER TABLE votes ADD COLUMN text TEXT NOT NULL DEFAULT '';
        ALTER TABLE votes ADD COLUMN reason TEXT NOT NULL DEFAULT '';
        """,
    )


@charter()
def m006_gates(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE comparisons ADD COLUMN draw REAL NOT NULL DEFAULT 0;
        ALTER TABLE preferences ADD COLUMN uniform INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE preferences ADD COLUMN calibration_id TEXT NOT NULL DEFAULT '';
        ALTER TABLE preferences ADD COLUMN ungated INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE reward_models ADD COLUMN ungated INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE policy_versions ADD COLUMN ungated INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE calibrations (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, judge TEXT NOT NULL, objective TEXT NOT NULL,
          constitution_hash TEXT NOT NULL, truth TEXT NOT NULL, temperature REAL NOT NULL, pairs INTEGER NOT NULL,
          folds INTEGER NOT NULL, brier_before REAL NOT NULL, brier_after REAL NOT NULL, ece_before REAL NOT NULL,
          ece_after REAL NOT NULL, applied INTEGER NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE TABLE gates (
          id TEXT PRIMARY KEY, run_id TEXT NOT NULL, judge TEXT NOT NULL, objective TEXT NOT NULL,
          constitution_hash TEXT NOT NULL, truth TEXT NOT NULL, pairs INTEGER NOT NULL, abstained INTEGER NOT NULL,
          agreement REAL NOT NULL, agreement_low REAL NOT NULL, longer_reply REAL NOT NULL, consistency REAL NOT NULL,
          passed INTEGER NOT NULL, reason TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        """,
    )
    for (identity,) in list(db.execute("SELECT id FROM comparisons")):
        db.execute("UPDATE comparisons SET draw = ? WHERE id = ?", [uniform_draw(identity), identity])


@charter()
def m007_written(db: Database) -> None:
    run_script(db, "ALTER TABLE revisions ADD COLUMN written TEXT NOT NULL DEFAULT ''")


@charter()
def m008_constitution_files(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE constitution_files (
          constitution_hash TEXT NOT NULL REFERENCES constitutions (hash), id TEXT NOT NULL, text TEXT NOT NULL,
          source TEXT NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (constitution_hash, id)) STRICT;
        """,
    )
    for meaning, text, *rest in list(db.execute("SELECT hash, text, source, created_at FROM constitutions")):
        db.execute("INSERT INTO constitution_files VALUES (?, ?, ?, ?, ?)", [meaning, bytes_hash(text), text, *rest])


@charter()
def m009_steering(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE reward_models ADD COLUMN auditor INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE stage_results ADD COLUMN auditors TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(auditors));
        ALTER TABLE stage_results ADD COLUMN auditor_pack TEXT NOT NULL DEFAULT '';
        CREATE TABLE watch_points (
          run_id TEXT NOT NULL REFERENCES runs (id), step INTEGER NOT NULL, objective TEXT NOT NULL, kl REAL NOT NULL,
          proxy TEXT NOT NULL CHECK (json_valid(proxy)), auditor TEXT NOT NULL CHECK (json_valid(auditor)),
          gold TEXT NOT NULL CHECK (json_valid(gold)), created_at TEXT NOT NULL,
          UNIQUE (run_id, step, objective)) STRICT;
        CREATE TABLE weight_changes (
          number INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL REFERENCES runs (id),
          weights TEXT NOT NULL CHECK (json_valid(weights)), from_step INTEGER, created_at TEXT NOT NULL) STRICT;
        """,
    )


def run_script(db: Database, script: str) -> None:
    """Carry out each statement of the script, in the caller's transaction."""
    # Not executescript: it would commit the transaction that makes all steps one.
    for statement in script.split(";"):
        if statement.strip():
            db.execute(statement)


@charter()
def m010_requests(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE requests (
          method TEXT NOT NULL, id TEXT NOT NULL, body TEXT NOT NULL, answer TEXT NOT NULL, created_at TEXT NOT NULL,
          PRIMARY KEY (method, id)) STRICT, WITHOUT ROWID;
        CREATE TABLE workers (owner TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT;
        ALTER TABLE runs ADD COLUMN display_name TEXT NOT NULL DEFAULT '';
        ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
        """,
    )


@charter()
def m011_crashes(db: Database) -> None:
    run_script(db, "ALTER TABLE runs ADD COLUMN crashes INTEGER NOT NULL DEFAULT 0")


@charter()
def m012_reward_quality(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE reward_models ADD COLUMN quality TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(quality));
        ALTER TABLE scores ADD COLUMN steps TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(steps));
        """,
    )


@charter()
def m013_data_pairs(db: Database) -> None:
    run_script(db, "ALTER TABLE reward_models ADD COLUMN data_pairs INTEGER NOT NULL DEFAULT 0")


@charter()
def m014_norm_temperature(db: Database) -> None:
    run_script(db, "ALTER TABLE norm_packs ADD COLUMN temperature REAL NOT NULL DEFAULT 1.0")


@charter()
def m015_policy_aliases(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE alias_changes (
          number INTEGER PRIMARY KEY AUTOINCREMENT, alias TEXT NOT NULL, version TEXT NOT NULL, previous TEXT NOT NULL,
          kind TEXT NOT NULL, changed_by TEXT NOT NULL, reason TEXT NOT NULL, overridden TEXT NOT NULL,
          created_at TEXT NOT NULL) STRICT;
        CREATE INDEX alias_changes_by_alias ON alias_changes (alias, number);
        """,
    )
    for change in ("UPDATE", "DELETE"):
        db.execute(
            f"""CREATE TRIGGER alias_changes_only_grow_{change.lower()} BEFORE {change} ON alias_changes
            BEGIN SELECT raise(ABORT, 'the history of aliases only grows'); END"""
        )


@charter()
def m016_managed_runs(db: Database) -> None:
    run_script(
        db,
        """
        ALTER TABLE runs ADD COLUMN tags TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(tags));
        CREATE INDEX samples_of_prompt ON samples (prompt_id);
        CREATE INDEX revisions_of_sample ON revisions (sample_id);
        CREATE INDEX comparisons_of_a ON comparisons (a_id);
        CREATE INDEX comparisons_of_b ON comparisons (b_id);
        """,
    )


@charter()
def m017_people_at_work(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE label_leases (
          comparison_id TEXT NOT NULL, objective TEXT NOT NULL, labeler TEXT NOT NULL, expires_at TEXT NOT NULL,
          PRIMARY KEY (comparison_id, objective)) STRICT, WITHOUT ROWID;
        ALTER TABLE preferences ADD COLUMN swapped INTEGER;
        """,
    )


@charter()
def m018_datasets(db: Database) -> None:
    run_script(
        db,
        """
        CREATE TABLE datasets (
          number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, format TEXT NOT NULL, encoding TEXT NOT NULL,
          hash TEXT NOT NULL, artifact TEXT NOT NULL, rows INTEGER NOT NULL, size INTEGER NOT NULL,
          description TEXT NOT NULL, created_by TEXT NOT NULL, created_at TEXT NOT NULL) STRICT;
        CREATE INDEX datasets_by_id ON datasets (id, number);
        CREATE INDEX datasets_by_hash ON datasets (hash, number);
        """,
    )
